;; Tries to end the head, or a field, where the server does not: in a value, in a name at /name, in the reason at /reason.
(func $misbehave
  (if (call $at "/name") (then (call $header "A: b\0d\0aX" "y") (return)))
  (if (call $at "/reason") (then (call $reason "OK\0d\0a\0d\0abody") (return)))
  (if (call $at "/nul") (then (call $header "A" "b\00c") (return)))
  (call $header "A" "b\0d\0aX: y"))
