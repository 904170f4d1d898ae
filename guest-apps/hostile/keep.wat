;; Keeps its input after the response, and the response unfinished as long as it can.
(func $misbehave (call $forget) (call $stream))
(func $next
  (if (i32.eq (global.get $asked) (i32.const 1)) (then (call $block "kept"))))
