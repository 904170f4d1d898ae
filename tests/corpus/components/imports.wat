;; Imports of this contract, of another version of it, of WASI, and of what nobody offers; and a section that is no bundle.
(component
  (import "wsgi:gateway/io@0.1.0" (instance
    (export "input" (type (sub resource)))
    (export "errors" (func (param "text" string)))))
  (import "wasi:clocks/wall-clock@0.2.6" (instance))
  (import "wsgi:gateway/application@0.1.1" (instance))
  (import "somebody:else/thing" (instance))
  (@custom "wsgi-host:bundle" "\10\00\00\00{\22version\22:1,\22roots\22:[\22/0\22]}")
  (instance $empty)
  (export "wsgi:gateway/application@0.1.0" (instance $empty)))
