;; Calls the host for ever.
(func $misbehave (loop $more (call $log "") (br $more)))
