;; Asks for almost 4 GiB of memory in one go, and gives up if there is less.
(func $misbehave
  (if (i32.eq (memory.grow (i32.const 65000)) (i32.const -1)) (then (unreachable))))
