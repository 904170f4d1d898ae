;; Traps: before its head, after its first block at /body, in close() at /close.
(global $path (mut i32) (i32.const 0))
(func $misbehave
  (if (call $at "/body") (then (global.set $path (i32.const 1))))
  (if (call $at "/close") (then (global.set $path (i32.const 2))))
  (if (i32.eqz (global.get $path)) (then (unreachable)))
  (call $stream))
(func $next
  (if (i32.eq (global.get $asked) (i32.const 1)) (then (call $block "one") (return)))
  (if (i32.eq (global.get $path) (i32.const 1)) (then (unreachable))))
(func $close
  (if (i32.eq (global.get $path) (i32.const 2)) (then (unreachable))))
