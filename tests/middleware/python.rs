//! Middleware in Python that others have written, around apps in other languages, without a line of code for this server.

use super::serve;
use crate::guests::Subject;
use crate::harness::guest;

#[test]
fn proxy_fix_and_the_validator_work_unmodified() {
    let middleware = "third_party:create_app(x_host=1, x_prefix=1)";
    let mut server = serve(&[middleware], &guest("go"), &["--max-requests", "0"]);
    let subject = Subject::new("third-party", &server);
    subject.answers_alike();

    let fields = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: shop.example\r\nX-Forwarded-Prefix: /shop\r\n";
    let response = subject.request(&mut server.client(), "GET", "/environ", fields, b"");
    let text = response.text();
    for line in [
        "REMOTE_ADDR: 192.0.2.1\n",
        "SCRIPT_NAME: /shop\n",
        "HTTP_HOST: shop.example\n",
    ] {
        assert!(text.contains(line), "{text}");
    }

    assert_eq!(server.stop().code(), Some(0));
    let log = server.whole_log().join("\n");
    for word in ["AssertionError", "WSGIWarning"] {
        assert!(!log.contains(word), "{log}");
    }
}
