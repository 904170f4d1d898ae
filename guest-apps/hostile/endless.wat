;; Returns a body that has no end.
(func $misbehave (call $stream))
(func $next (call $block "more and "))
