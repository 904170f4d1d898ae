;; Takes memory page by page, and writes to each, until there is no more.
(func $misbehave
  (loop $more
    (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (unreachable)))
    (i32.store (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 4)) (i32.const 1))
    (br $more)))
