;; Never reads what the client sends, and answers.
(func $misbehave (call $body "done"))
