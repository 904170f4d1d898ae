;; WASI preview 1, as the Go runtime asks for it, in terms of preview 2: time, sleep, random numbers,
;; and the standard error as wsgi.errors. There are no files, arguments and environment variables.
;;
;; Wasmtime's adapter cannot be used here: it allocates memory with the app's `cabi_realloc` while
;; the Go runtime is not up yet, or else by growing the memory, which Go believes to be its alone.
;; This one allocates nothing. What it keeps is in the first page, which Go leaves free so that a nil
;; pointer points to nothing:
;;   16  a result of the host's, of 16 bytes
;;   32  not zero while the host must not be called (see `barred` in gateway.go)
;;   40  the time last told, of the wall clock
;;   48  the same, of the monotonic clock
(module
  (import "env" "memory" (memory 0))
  (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $monotonic (result i64)))
  (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration"
    (func $subscribe (param i64) (result i32)))
  (import "wasi:clocks/wall-clock@0.2.0" "now" (func $wall (param i32)))
  (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
  (import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop (param i32)))
  (import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))
  (import "wsgi:gateway/io@0.1.0" "errors" (func $errors (param i32 i32)))

  (global $badf i32 (i32.const 8))

  (func (export "clock_time_get") (param $clock i32) (param i64) (param $time i32) (result i32)
    (local $last i32)
    (local.set $last (i32.add (i32.const 40) (i32.shl (local.get $clock) (i32.const 3))))
    (if (i32.eqz (i32.load (i32.const 32)))
      (then (i64.store (local.get $last) (call $now (local.get $clock)))))
    (i64.store (local.get $time) (i64.load (local.get $last)))
    (i32.const 0))

  (func $now (param $clock i32) (result i64)
    (if (local.get $clock) (then (return (call $monotonic))))
    (call $wall (i32.const 16))
    (i64.add
      (i64.mul (i64.load (i32.const 16)) (i64.const 1000000000))
      (i64.load32_u (i32.const 24))))

  ;; Go subscribes to one clock, relative to now, and to no files, since it has none.
  (func (export "poll_oneoff")
    (param $subscription i32) (param $event i32) (param i32) (param $events i32) (result i32)
    (local $pollable i32)
    (local.set $pollable (call $subscribe (i64.load offset=24 (local.get $subscription))))
    (call $block (local.get $pollable))
    (call $drop (local.get $pollable))
    (i64.store (local.get $event) (i64.load (local.get $subscription)))
    (i64.store offset=8 (local.get $event) (i64.const 0))
    (i32.store (local.get $events) (i32.const 1))
    (i32.const 0))

  (func (export "random_get") (param $to i32) (param $length i32) (result i32)
    (local $bits i64)
    (loop $next
      (if (local.get $length)
        (then
          (if (i64.eqz (local.get $bits)) (then (local.set $bits (call $random))))
          (i64.store8 (local.get $to) (local.get $bits))
          (local.set $bits (i64.shr_u (local.get $bits) (i64.const 8)))
          (local.set $to (i32.add (local.get $to) (i32.const 1)))
          (local.set $length (i32.sub (local.get $length) (i32.const 1)))
          (br $next))))
    (i32.const 0))

  (func (export "fd_write")
    (param $fd i32) (param $parts i32) (param $count i32) (param $written i32) (result i32)
    (local $total i32)
    (loop $next
      (if (local.get $count)
        (then
          (call $errors (i32.load (local.get $parts)) (i32.load offset=4 (local.get $parts)))
          (local.set $total (i32.add (local.get $total) (i32.load offset=4 (local.get $parts))))
          (local.set $parts (i32.add (local.get $parts) (i32.const 8)))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br $next))))
    (i32.store (local.get $written) (local.get $total))
    (i32.const 0))

  (func $nothing (param $count i32) (param $size i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $size) (i32.const 0))
    (i32.const 0))
  (export "args_sizes_get" (func $nothing))
  (export "environ_sizes_get" (func $nothing))

  (func $none (param i32 i32) (result i32) (i32.const 0))
  (export "args_get" (func $none))
  (export "environ_get" (func $none))

  (func $no_file (param i32 i32) (result i32) (global.get $badf))
  (export "fd_fdstat_get" (func $no_file))
  (export "fd_fdstat_set_flags" (func $no_file))
  (export "fd_prestat_get" (func $no_file))
  (func (export "fd_close") (param i32) (result i32) (global.get $badf))
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (global.get $badf))
  (func (export "fd_read") (param i32 i32 i32 i32) (result i32) (global.get $badf))

  (func (export "sched_yield") (result i32) (i32.const 0))
  (func (export "proc_exit") (param i32) unreachable))
