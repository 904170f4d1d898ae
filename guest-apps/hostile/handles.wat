;; Makes iterables and never lets go of one.
(func $misbehave (loop $more (drop (call $new_chunks (i32.const 1))) (br $more)))
