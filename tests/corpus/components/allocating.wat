;; A guest whose allocator asks for memory when it needs some, as those of languages do: it knows where its heap ends by
;; what it wrote there.
(component
  (import "length" (func $length (param "text" string) (result u32)))

  (core module $main
    (import "host" "length" (func $length (param i32 i32) (result i32)))
    (memory (export "memory") 1 10)
    (table 1 funcref)
    (global $set (mut i32) (i32.const 7))
    (data (i32.const 16) "hello")
    (func $realloc (export "cabi_realloc") (param $old i32) (param $bytes i32) (param $align i32) (param $new i32) (result i32)
      (local $end i32)
      (if (local.get $old) (then (return (local.get $old))))
      (if (i32.eqz (i32.load (i32.const 8)))
        (then (i32.store (i32.const 8) (i32.mul (memory.size) (i32.const 65536)))))
      (local.set $old (i32.load (i32.const 8)))
      (local.set $end (i32.add (local.get $old) (local.get $new)))
      (if (i32.gt_u (local.get $end) (i32.mul (memory.size) (i32.const 65536)))
        (then
          (if (i32.eq (i32.const -1) (memory.grow (i32.shr_u (i32.add (local.get $new) (i32.const 65535)) (i32.const 16))))
            (then unreachable))))
      ;; All but the first bytes are given back.
      (i32.store (i32.const 8) (i32.add (local.get $old) (i32.const 16)))
      (local.get $old))
    ;; How many pages it takes to have room for some bytes.
    (func (export "pages") (param $bytes i32) (result i32)
      (drop (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (local.get $bytes)))
      (memory.size))
    (func (export "beyond") (result i32)
      (i32.load8_u (i32.mul (memory.size) (i32.const 65536))))
    (func (export "text") (result i32)
      (call $length (i32.const 16) (i32.const 5))))

  (core module $memory (memory (export "memory") 1))
  (core instance $shared (instantiate $memory))
  (core func $lowered (canon lower (func $length) (memory $shared "memory")))
  (core instance $host (export "length" (func $lowered)))
  (core instance $guest (instantiate $main (with "host" (instance $host))))
  (func (export "pages") (param "bytes" u32) (result u32) (canon lift (core func $guest "pages")))
  (func (export "beyond") (result u32) (canon lift (core func $guest "beyond")))
  (func (export "text") (result u32) (canon lift (core func $guest "text"))))
