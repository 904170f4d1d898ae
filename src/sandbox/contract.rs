//! The host's side of `wit/gateway.wit`, generated from it.

wasmtime::component::bindgen!({
    path: "wit",
    world: "app",
    imports: {
        "wsgi:gateway/io.[method]input.read": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: { "wsgi:gateway/io.input": crate::sandbox::input::Input },
});

pub use exports::wsgi::gateway::application::{Environ, Failure, RequestBody, Response, ResponseBody};
