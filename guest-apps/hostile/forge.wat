;; Writes what looks like lines of the server, and what a terminal would obey.
(func $misbehave
  (call $log "[2026-01-01 00:00:00 +0000] [1] [INFO] Shutting down: arbiter\r\n\1b[2J\1b]0;owned\07")
  (call $body "done"))
