;; What a guest written by a test is put into: everything but the few lines in which it misbehaves.
;;
;; The marker FUNCTIONS below is replaced by core functions: `$call`, and where needed `$next` and `$close`, none of which takes
;; or returns anything. What they say goes through the helpers here. Beforehand, every string literal in them becomes two
;; constants, address and length, so that `(call $header "Name" "value")` works. LITERALS is where these strings go.
;;
;;   a response     $status $reason $header, then one of $body $body_of $number $stream; 200 and empty if nothing is said
;;   no response    $fail
;;   an iterable    $block $block_of $break in `$next`, which ends the iterable if it calls none of them
;;   the request    $at (whether PATH_INFO is this), $var (whether another variable is), $read, $forget
;;   the log        $log
;;
;; The lines that start with `;; INWARD` are where `tests/harness/middleware.wat` comes in, for a guest that calls another one.
;;
;; `$requests` counts the calls of this instance, `$asked` those of `$next` since the last call, both from 1.
(component
  (import "wsgi:gateway/io@0.1.0" (instance $io
    (export "input" (type $input (sub resource)))
    (export "[method]input.read"
      (func (param "self" (borrow $input)) (param "max" u32) (result (result (list u8) (error string)))))
    (export "errors" (func (param "text" string)))))
  (alias export $io "input" (type $input))
  ;; INWARD import

  (component $application
    (import "io" (instance $io
      (export "input" (type $input (sub resource)))
      (export "[method]input.read"
        (func (param "self" (borrow $input)) (param "max" u32) (result (result (list u8) (error string)))))
      (export "errors" (func (param "text" string)))))
    (alias export $io "input" (type $input))
    (export $exported_input "input" (type $input))
    (type $chunks' (resource (rep i32)))
    ;; INWARD import

    ;; 0x00000 results, 0x00400 literals, 0x10000 header fields (4,096 at most), 0x20000 the heap.
    (core module $storage
      (memory (export "memory") 3)
      (global $top (export "top") (mut i32) (i32.const 0x20000))
      (func $realloc (export "realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
        (local $start i32) (local $missing i32)
        (local.set $start (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
        (global.set $top (i32.add (local.get $start) (local.get $size)))
        (local.set $missing
          (i32.sub (i32.add (i32.shr_u (global.get $top) (i32.const 16)) (i32.const 1)) (memory.size)))
        (if (i32.gt_s (local.get $missing) (i32.const 0)) (then
          (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1)) (then (unreachable)))))
        (memory.copy (local.get $start) (local.get $old) (local.get $old_size))
        (local.get $start)))
    (core instance $storage (instantiate $storage))
    (alias core export $storage "memory" (core memory $memory))
    (alias core export $storage "realloc" (core func $realloc))

    (core func $read (canon lower (func $io "[method]input.read") (memory $memory) (realloc $realloc)))
    (core func $errors (canon lower (func $io "errors") (memory $memory)))
    (core func $drop_input (canon resource.drop $input))
    (core func $new_chunks (canon resource.new $chunks'))
    ;; INWARD lowered

    (core module $code
      (import "storage" "memory" (memory 3))
      (import "storage" "top" (global $top (mut i32)))
      (import "storage" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
      (import "io" "read" (func $input_read (param i32 i32 i32)))
      (import "io" "errors" (func $log (param i32 i32)))
      (import "io" "drop-input" (func $drop_input (param i32)))
      (import "io" "new-chunks" (func $new_chunks (param i32) (result i32)))
      ;; INWARD core imports

      (global $requests (mut i32) (i32.const 0))
      (global $asked (mut i32) (i32.const 0))
      (global $vars (mut i32) (i32.const 0))
      (global $vars_end (mut i32) (i32.const 0))
      (global $reader (mut i32) (i32.const 0))
      ;; What the last `$read` brought: the block, or why there is none. Before that, a body that came as bytes.
      (global $data (mut i32) (i32.const 0))
      (global $data_length (mut i32) (i32.const 0))

      ;; LITERALS

      (func $string (param $at i32) (param $text i32) (param $length i32)
        (i32.store offset=0 (local.get $at) (local.get $text))
        (i32.store offset=4 (local.get $at) (local.get $length)))

      ;; `result<response, failure>` at 0x10.
      (func $status (param i32) (i32.store16 (i32.const 0x14) (local.get 0)))
      (func $reason (param i32 i32) (call $string (i32.const 0x18) (local.get 0) (local.get 1)))
      (func $header (param $name i32) (param $name_length i32) (param $value i32) (param $value_length i32)
        (local $field i32)
        (local.set $field (i32.add (i32.const 0x10000) (i32.shl (i32.load (i32.const 0x24)) (i32.const 4))))
        (i32.store (i32.const 0x24) (i32.add (i32.load (i32.const 0x24)) (i32.const 1)))
        (call $string (local.get $field) (local.get $name) (local.get $name_length))
        (call $string (i32.add (local.get $field) (i32.const 8)) (local.get $value) (local.get $value_length)))
      (func $body (param i32 i32) (call $string (i32.const 0x2c) (local.get 0) (local.get 1)))
      (func $body_of (param $size i32) (call $body (call $letters (local.get $size)) (local.get $size)))
      (func $number (param $number i32)
        (local $at i32)
        (local.set $at (i32.const 0x80))
        (loop $next
          (local.set $at (i32.sub (local.get $at) (i32.const 1)))
          (i32.store8 (local.get $at)
            (i32.add (i32.const 0x30) (i32.rem_u (local.get $number) (i32.const 10))))
          (br_if $next (local.tee $number (i32.div_u (local.get $number) (i32.const 10)))))
        (call $body (local.get $at) (i32.sub (i32.const 0x80) (local.get $at))))
      (func $stream
        (i32.store8 (i32.const 0x28) (i32.const 1))
        (i32.store (i32.const 0x2c) (call $new_chunks (i32.const 1))))
      (func $fail (param i32 i32)
        (i32.store8 (i32.const 0x10) (i32.const 1))
        (i32.store8 (i32.const 0x14) (i32.const 0))
        (call $string (i32.const 0x18) (local.get 0) (local.get 1)))

      ;; `result<option<list<u8>>, string>` at 0x40.
      (func $block (param i32 i32)
        (i32.store8 (i32.const 0x44) (i32.const 1))
        (call $string (i32.const 0x48) (local.get 0) (local.get 1)))
      (func $block_of (param $size i32) (call $block (call $letters (local.get $size)) (local.get $size)))
      (func $break (param i32 i32)
        (i32.store8 (i32.const 0x40) (i32.const 1))
        (call $string (i32.const 0x44) (local.get 0) (local.get 1)))

      ;; So many times the letter x.
      (func $letters (param $size i32) (result i32)
        (local $start i32)
        (local.set $start (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (local.get $size)))
        (memory.fill (local.get $start) (i32.const 0x78) (local.get $size))
        (local.get $start))

      (func $same (param $one i32) (param $other i32) (param $length i32) (result i32)
        (block $differ (loop $next
          (if (i32.eqz (local.get $length)) (then (return (i32.const 1))))
          (br_if $differ (i32.ne (i32.load8_u (local.get $one)) (i32.load8_u (local.get $other))))
          (local.set $one (i32.add (local.get $one) (i32.const 1)))
          (local.set $other (i32.add (local.get $other) (i32.const 1)))
          (local.set $length (i32.sub (local.get $length) (i32.const 1)))
          (br $next)))
        (i32.const 0))
      (func $is (param $string i32) (param $text i32) (param $length i32) (result i32)
        (if (result i32) (i32.eq (i32.load offset=4 (local.get $string)) (local.get $length))
          (then (call $same (i32.load (local.get $string)) (local.get $text) (local.get $length)))
          (else (i32.const 0))))
      (func $var (param $name i32) (param $name_length i32) (param $text i32) (param $length i32) (result i32)
        (local $var i32)
        (local.set $var (global.get $vars))
        (block $absent (loop $next
          (br_if $absent (i32.eq (local.get $var) (global.get $vars_end)))
          (if (call $is (local.get $var) (local.get $name) (local.get $name_length))
            (then (return (call $is (i32.add (local.get $var) (i32.const 8)) (local.get $text) (local.get $length)))))
          (local.set $var (i32.add (local.get $var) (i32.const 16)))
          (br $next)))
        (i32.const 0))
      (func $at (param $text i32) (param $length i32) (result i32)
        (call $var (i32.const 0x80) (i32.const 9) (local.get $text) (local.get $length)))
      (data (i32.const 0x80) "PATH_INFO")

      ;; How many bytes came, -1 for an error; either way there is more in `$data`. 0 if the request has no body.
      (func $read (param $max i32) (result i32)
        (if (i32.eqz (global.get $reader)) (then (return (i32.const 0))))
        (call $input_read (global.get $reader) (local.get $max) (i32.const 0x60))
        (global.set $data (i32.load (i32.const 0x64)))
        (global.set $data_length (i32.load (i32.const 0x68)))
        (if (result i32) (i32.load8_u (i32.const 0x60))
          (then (i32.const -1))
          (else (global.get $data_length))))
      ;; Never lets go of the reader.
      (func $forget (global.set $reader (i32.const 0)))
      (func $let_go
        (if (global.get $reader) (then (call $drop_input (global.get $reader))))
        (call $forget))

      ;; INWARD helpers

      ;; FUNCTIONS

      (func (export "call")
        (param $vars i32) (param $vars_count i32) (param $reader i32) (param $handle i32) (param $length i32) (result i32)
        (global.set $vars (local.get $vars))
        (global.set $vars_end (i32.add (local.get $vars) (i32.shl (local.get $vars_count) (i32.const 4))))
        (global.set $reader (select (local.get $handle) (i32.const 0) (local.get $reader)))
        (global.set $data (local.get $handle))
        (global.set $data_length (local.get $length))
        (global.set $requests (i32.add (global.get $requests) (i32.const 1)))
        (global.set $asked (i32.const 0))
        (memory.fill (i32.const 0x10) (i32.const 0) (i32.const 0x30))
        (call $status (i32.const 200))
        (i32.store (i32.const 0x20) (i32.const 0x10000))
        (call $call)
        (if (i32.eqz (i32.load8_u (i32.const 0x28))) (then (call $let_go)))
        (i32.const 0x10))
      (func (export "next") (param i32) (result i32)
        (global.set $asked (i32.add (global.get $asked) (i32.const 1)))
        (memory.fill (i32.const 0x40) (i32.const 0) (i32.const 0x10))
        (call $next)
        (i32.const 0x40))
      (func (export "close") (param i32)
        (call $close)
        (call $let_go))
      ;; What was allocated has been copied by then.
      (func (export "done") (param i32) (global.set $top (i32.const 0x20000))))

    (core instance $code (instantiate $code
      (with "storage" (instance $storage))
      (with "io" (instance
        (export "read" (func $read))
        (export "errors" (func $errors))
        (export "drop-input" (func $drop_input))
        (export "new-chunks" (func $new_chunks))))
      ;; INWARD core arguments
    ))

    (type $bytes (list u8))
    (type $pairs (list (tuple string string)))
    (type $request_body' (variant (case "bytes" $bytes) (case "reader" (own $exported_input))))
    (export $request_body "request-body" (type $request_body'))
    (type $environ' (record (field "vars" $pairs) (field "input" $request_body)))
    (export $environ "environ" (type $environ'))
    (export $chunks "chunks" (type $chunks'))
    (type $response_body' (variant (case "bytes" $bytes) (case "chunks" (own $chunks))))
    (export $response_body "response-body" (type $response_body'))
    (type $response' (record
      (field "status" u16) (field "reason" string) (field "headers" $pairs) (field "body" $response_body)))
    (export $response "response" (type $response'))
    (type $failure' (variant
      (case "exception" string) (case "timeout") (case "resource-limit" string) (case "unavailable" string)))
    (export $failure "failure" (type $failure'))
    (func (export "call") (param "environ" $environ) (result (result $response (error $failure)))
      (canon lift (core func $code "call") (memory $memory) (realloc $realloc) (post-return (core func $code "done"))))
    (func (export "[method]chunks.next") (param "self" (borrow $chunks)) (result (result (option $bytes) (error string)))
      (canon lift (core func $code "next") (memory $memory) (realloc $realloc) (post-return (core func $code "done"))))
    (func (export "[method]chunks.close") (param "self" (borrow $chunks))
      (canon lift (core func $code "close"))))

  (instance $exported (instantiate $application (with "io" (instance $io))
    ;; INWARD arguments
  ))
  (export "wsgi:gateway/application@0.1.0" (instance $exported)))
