;; Writes 10 MB to the log.
(func $misbehave (local $i i32)
  (loop $more
    (call $log "0123456789012345678\n")
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $more (i32.lt_u (local.get $i) (i32.const 500000))))
  (call $body "done"))
