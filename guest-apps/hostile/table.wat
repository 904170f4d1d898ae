;; Takes memory as elements of a table.
(table $elements 0 funcref)
(func $misbehave
  (loop $more
    (br_if $more (i32.ne
      (table.grow $elements (ref.null func) (i32.const 100000))
      (i32.const -1))))
  (unreachable))
