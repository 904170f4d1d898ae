//! The same hello for servers of `wasi:http`.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Hello;

impl Guest for Hello {
    fn handle(_: IncomingRequest, outparam: ResponseOutparam) {
        let headers = Fields::from_list(&[("Content-Type".into(), b"text/plain; charset=utf-8".into())])
            .expect("the field is valid");
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("it is asked for once");
        ResponseOutparam::set(outparam, Ok(response));
        let stream = body.write().expect("it is asked for once");
        stream
            .blocking_write_and_flush(b"hello world\n")
            .expect("the client takes it");
        drop(stream);
        OutgoingBody::finish(body, None).expect("there is no length to fall short of");
    }
}

wasip2::http::proxy::export!(Hello);
