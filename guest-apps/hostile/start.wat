;; Never gets as far as a request: its start function does not end.
(func $forever (loop $more (br $more)))
(start $forever)
(func $misbehave)
