;; Returns 5 bytes and says that there are 100; at /more, says that there are 3.
(func $misbehave
  (if (call $at "/more")
    (then (call $header "Content-Length" "3"))
    (else (call $header "Content-Length" "100")))
  (call $body "12345"))
