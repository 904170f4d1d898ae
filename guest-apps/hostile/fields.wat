;; Returns 10,000 header fields, all of them empty.
(func $misbehave
  (i32.store (i32.const 0x20) (call $realloc (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 160000)))
  (i32.store (i32.const 0x24) (i32.const 10000)))
