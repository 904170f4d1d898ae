;; Returns empty blocks for ever.
(func $misbehave (call $stream))
(func $next (call $block ""))
