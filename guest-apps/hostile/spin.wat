;; Computes for ever, and never calls the host.
(func $misbehave (loop $more (br $more)))
