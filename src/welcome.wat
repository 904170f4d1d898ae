;; The welcome page: what `wsgi-host serve` shows when no app is named.
;;
;; It is also the contract of wsgi:gateway@0.1.0 at its lowest level: a whole app, world `app`, with no
;; language and no generated bindings in between. Whoever writes bindings for a language finds here every
;; number that the canonical ABI of the Component Model derives from gateway.wit:
;;
;;   1. the import            the resource type `input`
;;   2. the core module       memory, allocator, `call`
;;   3. the types             gateway.wit once more, in the text format
;;   4. lifting               core functions become component functions
;;   5. the export            the interface `application`
;;
;; To see what a toolchain would make of this file: `wasm-tools component wit welcome.wat`.
(component $welcome

  ;; ---- 1. The import ------------------------------------------------------------------------------------

  ;; Of `io`, only the type is needed: `input` occurs in the signature of `call`. An app may import less than
  ;; its world offers, never more.
  ;;
  ;; An app that reads or logs names `[method]input.read` and `errors` here too, and lowers them with
  ;; `canon lower`. To core code they are (handle, max, address of the result) and (pointer, length); the result of
  ;; `read` is 12 bytes: u8 ok or error, at +4 pointer and length, of a block that `realloc` made. Lowering takes
  ;; a memory, so memory and allocator then sit in a core module that is instantiated first.
  (import "wsgi:gateway/io@0.1.0" (instance $io
    (export "input" (type (sub resource)))))
  (alias export $io "input" (type $input))

  ;; The interface that is exported is an instance, and an instance with types of its own, such as the
  ;; resource `chunks`, is made from a component: this one, with the app in it.
  (component $application
    (import "input" (type $input (sub resource)))
    (export $exported_input "input" (type $input))

    ;; An owned handle is an i32 to core code. Letting go of it is a built-in of the Component Model.
    (core func $drop_input (canon resource.drop $input))

    ;; ---- 2. The core module -----------------------------------------------------------------------------

    (core module $code
      (import "io" "drop-input" (func $drop_input (param i32)))

      ;; Memory starts as zeros, and what is not mentioned here stays zero:
      ;;
      ;;   0x0000   16  a variable without name and value: what a search that finds nothing answers
      ;;   0x0010   36  the result of `call`
      ;;   0x0040   32  the header fields of the response, two at most
      ;;   0x0060   48  the characters that HTML gives a meaning, and their replacements
      ;;   0x00a0       texts, each ended by a zero byte, so that no length is counted by hand
      ;;   0x4000       the heap: what the host passes in, then the page that is made from it
      (memory (export "memory") 1)

      ;; Shapes that the canonical ABI prescribes. A string or a list is (pointer, length), 4 bytes each; the
      ;; length of a string is in bytes of UTF-8. A `tuple<string, string>` is therefore 16 bytes:
      ;;
      ;;   +0 name pointer   +4 name length   +8 value pointer   +12 value length
      ;;
      ;; A variant is a discriminant, then its payload at the next multiple of the payload's alignment. So
      ;; `result<response, failure>`, at 0x0010, is 36 bytes:
      ;;
      ;;   +0  u8   0: ok, 1: error. What follows is for ok; a failure has its own discriminant at +4 and its
      ;;            text at +8.
      ;;   +4  u16  status
      ;;   +8       reason: pointer, length        (never set here: empty, which means the standard phrase)
      ;;   +16      headers: pointer, length       (the length is the number of tuples)
      ;;   +24 u8   body: 0: bytes, 1: chunks      (never set here: bytes)
      ;;   +28      body: pointer, length          (for chunks: the handle)
      (global $result i32 (i32.const 0x0010))
      (global $fields i32 (i32.const 0x0040))

      ;; Eight bytes each: a character, what is written in its place, zeros. The zeros after them end the list.
      (global $replacements i32 (i32.const 0x0060))
      (data (i32.const 0x0060)
        "&&amp;\00\00" "<&lt;\00\00\00" ">&gt;\00\00\00" "\"&quot;\00" "'&#39;\00\00")

      (global $REQUEST_METHOD i32 (i32.const 0x00a0)) (data (i32.const 0x00a0) "REQUEST_METHOD\00")
      (global $REQUEST_URI    i32 (i32.const 0x00b0)) (data (i32.const 0x00b0) "REQUEST_URI\00")
      (global $GET            i32 (i32.const 0x00c0)) (data (i32.const 0x00c0) "GET\00")
      (global $HEAD           i32 (i32.const 0x00c8)) (data (i32.const 0x00c8) "HEAD\00")
      (global $content_type   i32 (i32.const 0x00d0)) (data (i32.const 0x00d0) "Content-Type\00")
      (global $html           i32 (i32.const 0x00e0)) (data (i32.const 0x00e0) "text/html; charset=utf-8\00")
      (global $plain          i32 (i32.const 0x0100)) (data (i32.const 0x0100) "text/plain\00")
      (global $allow          i32 (i32.const 0x0110)) (data (i32.const 0x0110) "Allow\00")
      (global $allowed        i32 (i32.const 0x0118)) (data (i32.const 0x0118) "GET, HEAD\00")
      (global $not_allowed    i32 (i32.const 0x0128)) (data (i32.const 0x0128) "Method Not Allowed\n\00")

      ;; Templates. \01 and \02 are the two strings that a template is rendered with, \03 is a row for every
      ;; variable, and zero is the end. A row is rendered with name and value, the page with method and target.
      (global $row i32 (i32.const 0x0140))
      (data (i32.const 0x0140) "<tr><th scope=row>\01</th><td>\02</td></tr>\n\00")

      (global $page i32 (i32.const 0x0180))
      (data (i32.const 0x0180)
        "<!doctype html>\n"
        "<html lang=en>\n"
        "<meta charset=utf-8>\n"
        "<meta name=viewport content='width=device-width'>\n"
        "<meta name=color-scheme content='light dark'>\n"
        "<title>wsgi-host works</title>\n"
        "<style>\n"
        ":root { color-scheme: light dark; --paper: #fff; --ink: #20242c; --soft: #616975; --line: #e3e6eb;\n"
        "  --card: #f5f6f8; --mark: #5a3fd0 }\n"
        "@media (prefers-color-scheme: dark) { :root { --paper: #14161b; --ink: #e4e7ec; --soft: #98a0ad;\n"
        "  --line: #2b2f38; --card: #1d2027; --mark: #a996ff } }\n"
        "* { box-sizing: border-box }\n"
        "body { max-width: 54rem; margin: 0 auto; padding: 3.5rem 1.5rem; background: var(--paper);\n"
        "  color: var(--ink); font: 1rem/1.6 system-ui, sans-serif }\n"
        "h1 { margin: 0; font-size: 2.1rem; line-height: 1.2; letter-spacing: -.02em }\n"
        "h2 { margin: 3rem 0 .75rem; font-size: 1.1rem }\n"
        "a, b { color: var(--mark) }\n"
        "p { max-width: 40rem }\n"
        "p, dd { color: var(--soft) }\n"
        "code, pre, table { font: .86rem/1.6 ui-monospace, Menlo, Consolas, monospace }\n"
        "pre, td { overflow-wrap: anywhere; white-space: pre-wrap }\n"
        "pre { margin: 1.75rem 0; padding: 1rem 1.25rem; border-left: 4px solid var(--mark);\n"
        "  background: var(--card); font-size: 1.15rem }\n"
        "dl { display: grid; grid-template-columns: auto 1fr; gap: .5rem 1.5rem; margin: 0 }\n"
        "dt code { padding: .25rem .55rem; border-radius: .3rem; background: var(--card) }\n"
        "dd { margin: 0 }\n"
        "table { width: 100%; border-collapse: collapse }\n"
        "th, td { padding: .35rem 1.5rem .35rem 0; border-top: 1px solid var(--line); text-align: left;\n"
        "  vertical-align: top }\n"
        "th { color: var(--soft); font-weight: 400 }\n"
        "@media (max-width: 40rem) { dl, tr, th, td { display: block } dd { margin-bottom: .75rem }\n"
        "  td { padding-top: 0; border: 0 } }\n"
        "</style>\n"
        "<h1>wsgi-host works</h1>\n"
        "<pre><b>\01</b> \02</pre>\n"
        "<p>This page comes from a WebAssembly component that is compiled into the program. It ran in a fresh\n"
        "sandbox, made for this one request. You see it because no app was named.</p>\n"
        "<h2>Next steps</h2>\n"
        "<dl>\n"
        "<dt><code>wsgi-host serve app.wasm</code><dd>Serve a component, made with any language.\n"
        "<dt><code>wsgi-host serve app:my_app</code><dd>Serve a Flask or Django app, unmodified.\n"
        "<dt><code>wsgi-host inspect app.wasm</code><dd>See what a component could ever ask for.\n"
        "<dt><code>wsgi-host serve --help</code><dd>Limits, workers, directories, and more.\n"
        "</dl>\n"
        "<p>To read: <a href=https://peps.python.org/pep-3333/>PEP 3333</a>, where the environ comes from, and\n"
        "<a href=https://component-model.bytecodealliance.org/>the Component Model</a>, which carries it into any\n"
        "language.</p>\n"
        "<h2>The environ of this request</h2>\n"
        "<table>\n"
        "\03"
        "</table>\n"
        "\00")

      ;; The allocator. Everything lives until the response has been read; then the top falls back to the bottom.
      ;; That keeps an instance that serves many requests as small as its largest request has made it.
      (global $bottom i32 (i32.const 0x4000))
      (global $top (mut i32) (i32.const 0x4000))

      (func $take (param $align i32) (param $size i32) (result i32)
        (local $start i32) (local $missing i32)
        ;; Alignments are powers of two.
        (local.set $start (i32.and
          (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
          (i32.sub (i32.const 0) (local.get $align))))
        (global.set $top (i32.add (local.get $start) (local.get $size)))
        ;; Past 4 GiB, addresses begin again at zero.
        (if (i32.lt_u (global.get $top) (local.get $start)) (then (unreachable)))
        ;; Pages are 64 KiB.
        (local.set $missing (i32.sub
          (i32.add (i32.shr_u (i32.sub (global.get $top) (i32.const 1)) (i32.const 16)) (i32.const 1))
          (memory.size)))
        (if (i32.gt_s (local.get $missing) (i32.const 0)) (then
          (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1)) (then (unreachable)))))
        (local.get $start))

      ;; What the canonical ABI calls to get room for arguments. Only a caller with another encoding of strings
      ;; ever comes back with an old block, because it cannot know how long the text will be.
      (func (export "realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32)
        (result i32)
        (local $new i32)
        (if (i32.and
          (i32.ne (local.get $old_size) (i32.const 0))
          (i32.le_u (local.get $size) (local.get $old_size)))
          (then (return (local.get $old))))
        (local.set $new (call $take (local.get $align) (local.get $size)))
        (memory.copy (local.get $new) (local.get $old) (local.get $old_size))
        (local.get $new))

      ;; Below, a `$text` is the address of a text that zero ends, and a `$string` the address of a
      ;; (pointer, length).

      (func $length (param $text i32) (result i32)
        (local $end i32)
        (local.set $end (local.get $text))
        (block $found (loop $next
          (br_if $found (i32.eqz (i32.load8_u (local.get $end))))
          (local.set $end (i32.add (local.get $end) (i32.const 1)))
          (br $next)))
        (i32.sub (local.get $end) (local.get $text)))

      (func $set (param $string i32) (param $text i32)
        (i32.store offset=0 (local.get $string) (local.get $text))
        (i32.store offset=4 (local.get $string) (call $length (local.get $text))))

      (func $is (param $string i32) (param $text i32) (result i32)
        (local $at i32) (local $left i32)
        (local.set $at (i32.load offset=0 (local.get $string)))
        (local.set $left (i32.load offset=4 (local.get $string)))
        (if (i32.ne (local.get $left) (call $length (local.get $text))) (then (return (i32.const 0))))
        (block $same (loop $next
          (br_if $same (i32.eqz (local.get $left)))
          (if (i32.ne (i32.load8_u (local.get $at)) (i32.load8_u (local.get $text))) (then (return (i32.const 0))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (local.set $text (i32.add (local.get $text) (i32.const 1)))
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br $next)))
        (i32.const 1))

      ;; The environ of the request: `list<tuple<string, string>>`.
      (global $vars (mut i32) (i32.const 0))
      (global $vars_end (mut i32) (i32.const 0))

      ;; The value of a variable, as a `$string`; an empty one if there is none.
      (func $value (param $name i32) (result i32)
        (local $var i32)
        (local.set $var (global.get $vars))
        (block $absent (loop $next
          (br_if $absent (i32.eq (local.get $var) (global.get $vars_end)))
          (if (call $is (local.get $var) (local.get $name))
            (then (return (i32.add (local.get $var) (i32.const 8)))))
          (local.set $var (i32.add (local.get $var) (i32.const 16)))
          (br $next)))
        (i32.const 0x0000))

      ;; The page grows at the top of the heap, byte by byte: nothing else is allocated meanwhile.
      (func $put (param $byte i32)
        (i32.store8 (call $take (i32.const 1) (i32.const 1)) (local.get $byte)))

      ;; A string as HTML text or attribute. Its bytes are UTF-8 already, and so is the page.
      (func $put_escaped (param $string i32)
        (local $at i32) (local $end i32) (local $byte i32) (local $replacement i32)
        (local.set $at (i32.load offset=0 (local.get $string)))
        (local.set $end (i32.add (local.get $at) (i32.load offset=4 (local.get $string))))
        (block $done (loop $next
          (br_if $done (i32.eq (local.get $at) (local.get $end)))
          (local.set $byte (i32.load8_u (local.get $at)))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (local.set $replacement (global.get $replacements))
          (loop $search
            (if (i32.load8_u (local.get $replacement)) (then
              (if (i32.eq (i32.load8_u (local.get $replacement)) (local.get $byte)) (then
                (call $render (i32.add (local.get $replacement) (i32.const 1)) (i32.const 0) (i32.const 0))
                (br $next)))
              (local.set $replacement (i32.add (local.get $replacement) (i32.const 8)))
              (br $search))))
          (call $put (local.get $byte))
          (br $next))))

      (func $put_rows
        (local $var i32)
        (local.set $var (global.get $vars))
        (block $done (loop $next
          (br_if $done (i32.eq (local.get $var) (global.get $vars_end)))
          (call $render (global.get $row) (local.get $var) (i32.add (local.get $var) (i32.const 8)))
          (local.set $var (i32.add (local.get $var) (i32.const 16)))
          (br $next))))

      ;; Whoever leaves a block goes on behind its end: the block's name says which byte does.
      (func $render (param $text i32) (param $first i32) (param $second i32)
        (local $byte i32)
        (loop $next
          (local.set $byte (i32.load8_u (local.get $text)))
          (local.set $text (i32.add (local.get $text) (i32.const 1)))
          (block $other (block $three (block $two (block $one (block $zero
            (br_table $zero $one $two $three $other (local.get $byte)))
            (return))
            (call $put_escaped (local.get $first)) (br $next))
            (call $put_escaped (local.get $second)) (br $next))
            (call $put_rows) (br $next))
          (call $put (local.get $byte)) (br $next)))

      ;; `call: func(environ: environ) -> result<response, failure>`.
      ;;
      ;; Up to 16 flat parameters come as they are, so the record comes apart: the list of variables, then
      ;; `request-body`, whose cases share their slots. For `bytes` (0) these are pointer and length, for
      ;; `reader` (1) the handle and nothing. A result has one slot at most; a larger one is left in memory,
      ;; and its address returned.
      (func (export "call")
        (param $vars i32) (param $vars_length i32)
        (param $body i32) (param $bytes_or_reader i32) (param $bytes_length i32)
        (result i32)
        (local $method i32) (local $start i32)
        (global.set $vars (local.get $vars))
        (global.set $vars_end (i32.add (local.get $vars) (i32.shl (local.get $vars_length) (i32.const 4))))
        ;; Nothing here reads a body, but an owned handle has to go, or it would stay in the instance's table.
        (if (local.get $body) (then (call $drop_input (local.get $bytes_or_reader))))

        (local.set $method (call $value (global.get $REQUEST_METHOD)))
        (call $set (global.get $fields) (global.get $content_type))
        (i32.store offset=16 (global.get $result) (global.get $fields))
        ;; HEAD gets what GET gets; that the body stays here is the server's business.
        (if (i32.or
          (call $is (local.get $method) (global.get $GET))
          (call $is (local.get $method) (global.get $HEAD)))
          (then
            (i32.store16 offset=4 (global.get $result) (i32.const 200))
            (call $set (i32.add (global.get $fields) (i32.const 8)) (global.get $html))
            (i32.store offset=20 (global.get $result) (i32.const 1))
            (local.set $start (global.get $top))
            (call $render (global.get $page) (local.get $method) (call $value (global.get $REQUEST_URI)))
            (i32.store offset=28 (global.get $result) (local.get $start))
            (i32.store offset=32 (global.get $result) (i32.sub (global.get $top) (local.get $start))))
          (else
            (i32.store16 offset=4 (global.get $result) (i32.const 405))
            (call $set (i32.add (global.get $fields) (i32.const 8)) (global.get $plain))
            (call $set (i32.add (global.get $fields) (i32.const 16)) (global.get $allow))
            (call $set (i32.add (global.get $fields) (i32.const 24)) (global.get $allowed))
            (i32.store offset=20 (global.get $result) (i32.const 2))
            (call $set (i32.add (global.get $result) (i32.const 28)) (global.get $not_allowed))))
        (global.get $result))

      ;; Called when the host has read the result: nothing that was allocated is needed any more.
      (func (export "call-post-return") (param $result i32)
        (global.set $top (global.get $bottom)))

      ;; The body is always `bytes`, so there is never a `chunks` to call these with. The contract wants the
      ;; functions all the same. `self` is the i32 that the resource was made from. What `next` would return is
      ;; the address of 16 bytes: u8 ok or error, at +4 u8 none or some and at +8 the block, or at +4 the error's
      ;; text.
      (func (export "chunks-next") (param $self i32) (result i32) (unreachable))
      (func (export "chunks-close") (param $self i32) (unreachable)))

    (core instance $code (instantiate $code
      (with "io" (instance (export "drop-input" (func $drop_input))))))

    ;; ---- 3. The types -----------------------------------------------------------------------------------

    ;; What has a name in gateway.wit is exported under it, and then used as what was exported: that is how
    ;; the types of the functions come to mention it.

    (type $bytes (list u8))
    (type $pairs (list (tuple string string)))

    (type $request_body' (variant (case "bytes" $bytes) (case "reader" (own $exported_input))))
    (export $request_body "request-body" (type $request_body'))

    (type $environ' (record (field "vars" $pairs) (field "input" $request_body)))
    (export $environ "environ" (type $environ'))

    ;; To the code, an i32 of its choice; to the host, a handle. An app that makes one needs
    ;; `canon resource.new`, and a destructor where there is something to free.
    (type $chunks' (resource (rep i32)))
    (export $chunks "chunks" (type $chunks'))

    (type $response_body' (variant (case "bytes" $bytes) (case "chunks" (own $chunks))))
    (export $response_body "response-body" (type $response_body'))

    (type $response' (record
      (field "status" u16)
      (field "reason" string)
      (field "headers" $pairs)
      (field "body" $response_body)))
    (export $response "response" (type $response'))

    (type $failure' (variant
      (case "exception" string)
      (case "timeout")
      (case "resource-limit" string)
      (case "unavailable" string)))
    (export $failure "failure" (type $failure'))

    ;; ---- 4. Lifting -------------------------------------------------------------------------------------

    ;; Strings are UTF-8 unless `canon` says otherwise. Text in the environ is native strings, so one of
    ;; HTTP's bytes from 0x80 up arrives as a character from U+0080 to U+00FF: two bytes here.
    (func (export "call") (param "environ" $environ) (result (result $response (error $failure)))
      (canon lift (core func $code "call")
        (memory (core memory $code "memory"))
        (realloc (core func $code "realloc"))
        (post-return (core func $code "call-post-return"))))

    (func (export "[method]chunks.next")
      (param "self" (borrow $chunks)) (result (result (option $bytes) (error string)))
      (canon lift (core func $code "chunks-next") (memory (core memory $code "memory"))))

    (func (export "[method]chunks.close") (param "self" (borrow $chunks))
      (canon lift (core func $code "chunks-close"))))

  ;; ---- 5. The export ------------------------------------------------------------------------------------

  (instance $exported (instantiate $application (with "input" (type $input))))
  (export "wsgi:gateway/application@0.1.0" (instance $exported)))
