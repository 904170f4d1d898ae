;; Returns one header field of 64 MB, and at /twice two.
(func $misbehave
  (call $header "A" (call $letters (i32.const 64000000)) (i32.const 64000000))
  (if (call $at "/twice") (then
    (call $header "A" (call $letters (i32.const 64000000)) (i32.const 64000000)))))
