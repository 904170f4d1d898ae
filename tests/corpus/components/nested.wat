;; Components in components, instantiated more than once.
(component
  (component $inner
    (core module $m (memory 1 2) (table 1 funcref) (func (export "f")))
    (core instance $one (instantiate $m))
    (core instance $two (instantiate $m))
    (func (export "f") (canon lift (core func $one "f"))))
  (instance $first (instantiate $inner))
  (instance $second (instantiate $inner))
  (alias export $first "f" (func $f))
  (export "wsgi:gateway/application@0.1.0" (instance $first))
  (export "f" (func $f)))
