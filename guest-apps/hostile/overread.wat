;; Reads on and on, although the request has no more.
(func $misbehave (loop $more (drop (call $read (i32.const -1))) (br $more)))
