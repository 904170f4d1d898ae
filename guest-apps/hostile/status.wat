;; Returns a status that is none: 99, or 1000 at /1000.
(func $misbehave
  (call $status (i32.const 99))
  (if (call $at "/1000") (then (call $status (i32.const 1000)))))
