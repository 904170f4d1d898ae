;; Returns fields that are the server's own.
(func $misbehave
  (call $header "Transfer-Encoding" "chunked")
  (call $header "Connection" "keep-alive"))
