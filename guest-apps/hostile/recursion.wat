;; Calls itself without end.
(func $misbehave (call $misbehave))
