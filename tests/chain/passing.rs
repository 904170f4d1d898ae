//! What goes through: requests inward, responses outward.

use crate::harness::{Server, wat, wat_middleware};

#[test]
fn a_chain_of_five_passes_everything_on() {
    let app = wat(
        "inmost",
        r#"(func $call (call $status (i32.const 404)) (call $reason "Not Here") (call $header "X-App" "yes")
            (if (call $at "/stream") (then (call $stream)) (else (call $body "whole"))))
        (func $next (if (i32.le_u (global.get $asked) (i32.const 3)) (then (call $block "block,"))))
        (func $close (call $log "app closed\n"))"#,
    );
    let middleware = wat_middleware("passing", "");
    let mut arguments = vec![app.as_str()];
    for _ in 0..5 {
        arguments.extend(["--middleware", &middleware]);
    }
    let server = Server::start(&arguments);
    let whole = server.get("/");
    assert_eq!((whole.status(), whole.text().as_str()), (404, "whole"));
    let stream = server.get("/stream");
    assert_eq!((stream.status(), stream.text().as_str()), (404, "block,block,block,"));
    server.wait_for_log("inmost: GET /stream: wsgi.errors: app closed");
}
