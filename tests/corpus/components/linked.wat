;; Two modules that are linked to each other as shared libraries are, in the shape that wit-component gives them: the
;; first one has the memory and the table, the second one calls what the host offers through a shim.
(component
  (import "length" (func $length (param "text" string) (result u32)))

  (core module $shim
    (type $length (func (param i32 i32) (result i32)))
    (table (export "$imports") 1 1 funcref)
    (func (export "0") (param i32 i32) (result i32)
      local.get 0
      local.get 1
      i32.const 0
      call_indirect (type $length)))

  (core module $main
    (type $double (func (param i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "hello")
    (table (export "table") 4 funcref)
    (global (export "text") i32 (i32.const 16))
    (global (export "calls") (mut i32) (i32.const 7))
    (global (export "step") (mut i32) (i32.const 1))
    ;; Stands in for what the second one has.
    (func (export "double") (type $double)
      local.get 0
      i32.const 1
      call_indirect (type $double))
    (func (export "unused") (param i32)
      local.get 0
      global.set 2))

  (core module $library
    (import "env" "memory" (memory 1))
    (import "env" "table" (table 2 funcref))
    (import "env" "text" (global $text i32))
    (import "env" "calls" (global $calls (mut i32)))
    (import "env" "step" (global $step (mut i32)))
    (import "env" "double" (func $double (param i32) (result i32)))
    (import "host" "length" (func $length (param i32 i32) (result i32)))
    (data $mark "!")
    (elem (global.get $slot) func $add)
    (elem declare func $add)
    (global $slot i32 (i32.const 1))
    (func $add (param i32) (result i32)
      local.get 0
      local.get 0
      i32.add)
    (func (export "start")
      (global.set $calls (i32.add (global.get $calls) (i32.const 100))))
    (func (export "run") (result i32)
      (memory.init $mark (i32.const 21) (i32.const 0) (i32.const 1))
      (drop (ref.func $add))
      (global.set $calls (i32.add (global.get $calls) (global.get $step)))
      (call $double (i32.add (global.get $calls) (call $length (global.get $text) (i32.const 6))))))

  (core module $fixup
    (import "actual" "0" (func $length (param i32 i32) (result i32)))
    (import "shim" "$imports" (table $shim 1 1 funcref))
    (import "library" "start" (func $start))
    (elem (table $shim) (i32.const 0) func $length)
    (start $start))

  (core instance $shim (instantiate $shim))
  (alias core export $shim "0" (core func $indirect))
  (core instance $main (instantiate $main))
  (core instance $host (export "length" (func $indirect)))
  (core instance $library (instantiate $library
    (with "env" (instance $main))
    (with "host" (instance $host))))
  (alias core export $main "memory" (core memory $memory))
  (core func $lowered (canon lower (func $length) (memory $memory)))
  (core instance $actual (export "0" (func $lowered)))
  (core instance (instantiate $fixup
    (with "actual" (instance $actual))
    (with "shim" (instance $shim))
    (with "library" (instance $library))))
  (func (export "run") (result u32) (canon lift (core func $library "run"))))
