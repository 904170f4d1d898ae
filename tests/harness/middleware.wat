;; What makes a middleware of `tests/harness/guest.wat`: each part goes where that has a line like the part's first. More helpers
;; for a test:
;;
;;   inward          $inward calls with the request as it came, $inward_of with another body: whether there is a response;
;;                   $add_var adds to the environ before that
;;   its response    $pass makes it one's own, also if it is a failure; an iterable is `$held`
;;                   $failure is the case, if it is a failure
;;   its iterable    $relay in `$next` passes on what it brings: whether it is a block; $shut closes it, $drop drops it
;;
;; What came inward is at 0xa0 (`result<response, failure>`) and at 0xd0 (`result<option<list<u8>>, string>`).

;; INWARD import
(import "wsgi:gateway/application@0.1.0" (instance $inward
  (alias outer 1 $input (type $shared))
  (export "input" (type $input (eq $shared)))
  (export "chunks" (type $chunks (sub resource)))
  (type $bytes (list u8))
  (type $pairs (list (tuple string string)))
  (type $request_body' (variant (case "bytes" $bytes) (case "reader" (own $input))))
  (export "request-body" (type $request_body (eq $request_body')))
  (type $environ' (record (field "vars" $pairs) (field "input" $request_body)))
  (export "environ" (type $environ (eq $environ')))
  (type $response_body' (variant (case "bytes" $bytes) (case "chunks" (own $chunks))))
  (export "response-body" (type $response_body (eq $response_body')))
  (type $response' (record
    (field "status" u16) (field "reason" string) (field "headers" $pairs) (field "body" $response_body)))
  (export "response" (type $response (eq $response')))
  (type $failure' (variant
    (case "exception" string) (case "timeout") (case "resource-limit" string) (case "unavailable" string)))
  (export "failure" (type $failure (eq $failure')))
  (export "call" (func (param "environ" $environ) (result (result $response (error $failure)))))
  (export "[method]chunks.next" (func (param "self" (borrow $chunks)) (result (result (option $bytes) (error string)))))
  (export "[method]chunks.close" (func (param "self" (borrow $chunks))))))

;; INWARD lowered
(alias export $inward "chunks" (type $inner))
(core func $inward_call (canon lower (func $inward "call") (memory $memory) (realloc $realloc)))
(core func $inward_next (canon lower (func $inward "[method]chunks.next") (memory $memory) (realloc $realloc)))
(core func $inward_close (canon lower (func $inward "[method]chunks.close")))
(core func $inward_drop (canon resource.drop $inner))

;; INWARD core imports
(import "inward" "call" (func $inward_call (param i32 i32 i32 i32 i32 i32)))
(import "inward" "next" (func $inward_next (param i32 i32)))
(import "inward" "close" (func $inward_close (param i32)))
(import "inward" "drop" (func $inward_drop (param i32)))

;; INWARD helpers
(global $held (mut i32) (i32.const 0))
(func $inward_with (param $is_reader i32) (param $first i32) (param $second i32) (result i32)
  (call $inward_call
    (global.get $vars) (i32.shr_u (i32.sub (global.get $vars_end) (global.get $vars)) (i32.const 4))
    (local.get $is_reader) (local.get $first) (local.get $second) (i32.const 0xa0))
  (if (i32.eqz (i32.load8_u (i32.const 0xa0))) (then
    (global.set $held (select (i32.load (i32.const 0xbc)) (i32.const 0) (i32.load8_u (i32.const 0xb8))))
    (return (i32.const 1))))
  (i32.const 0))
(func $add_var (param $name i32) (param $name_length i32) (param $value i32) (param $value_length i32)
  (local $start i32) (local $size i32)
  (local.set $size (i32.sub (global.get $vars_end) (global.get $vars)))
  (local.set $start
    (call $realloc (global.get $vars) (local.get $size) (i32.const 4) (i32.add (local.get $size) (i32.const 16))))
  (global.set $vars (local.get $start))
  (global.set $vars_end (i32.add (local.get $start) (i32.add (local.get $size) (i32.const 16))))
  (local.set $start (i32.add (local.get $start) (local.get $size)))
  (call $string (local.get $start) (local.get $name) (local.get $name_length))
  (call $string (i32.add (local.get $start) (i32.const 8)) (local.get $value) (local.get $value_length)))
(func $inward (result i32)
  (local $reader i32)
  (local.set $reader (global.get $reader))
  (call $forget)
  (call $inward_with (i32.ne (local.get $reader) (i32.const 0)) (local.get $reader) (i32.const 0)))
(func $inward_of (param $body i32) (param $length i32) (result i32)
  (call $inward_with (i32.const 0) (local.get $body) (local.get $length)))
(func $failure (result i32) (i32.load8_u (i32.const 0xa4)))
(func $pass
  (memory.copy (i32.const 0x10) (i32.const 0xa0) (i32.const 0x24))
  (if (i32.eqz (i32.load8_u (i32.const 0xa0))) (then
    ;; Where `$header` adds to them.
    (memory.copy (i32.const 0x10000) (i32.load (i32.const 0x20)) (i32.shl (i32.load (i32.const 0x24)) (i32.const 4)))
    (i32.store (i32.const 0x20) (i32.const 0x10000))
    (if (i32.load8_u (i32.const 0xb8)) (then (call $stream))))))
(func $relay (result i32)
  (call $inward_next (global.get $held) (i32.const 0xd0))
  (memory.copy (i32.const 0x40) (i32.const 0xd0) (i32.const 0x10))
  (i32.and (i32.eqz (i32.load8_u (i32.const 0xd0))) (i32.load8_u (i32.const 0xd4))))
(func $shut (call $inward_close (global.get $held)))
(func $drop
  (call $inward_drop (global.get $held))
  (global.set $held (i32.const 0)))

;; INWARD core arguments
(with "inward" (instance
  (export "call" (func $inward_call))
  (export "next" (func $inward_next))
  (export "close" (func $inward_close))
  (export "drop" (func $inward_drop))))

;; INWARD arguments
(with "wsgi:gateway/application@0.1.0" (instance $inward))
