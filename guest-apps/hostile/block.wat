;; Returns a block of 100 MB; at /claimed, says that there is 1 GB of it.
(func $misbehave (call $stream))
(func $next
  (if (call $at "/claimed")
    (then (call $block (i32.const 0x20000) (i32.const 1073741824)))
    (else (call $block_of (i32.const 100000000)))))
