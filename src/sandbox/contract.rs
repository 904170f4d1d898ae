//! The host's side of `wit/gateway.wit`, generated from it.
//!
//! One set of bindings for both worlds: a middleware exports what an app exports, and what it imports beyond that
//! an app does not ask for.

wasmtime::component::bindgen!({
    path: "wit",
    world: "middleware",
    imports: {
        "wsgi:gateway/io.[method]input.read": async | trappable,
        "wsgi:gateway/application": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    // What goes into a guest is copied into its memory, and nowhere else.
    ownership: Borrowing { duplicate_if_necessary: true },
    with: {
        "wsgi:gateway/io.input": crate::sandbox::input::Input,
        "wsgi:gateway/application.chunks": crate::sandbox::inward::Inner,
    },
});

pub use exports::wsgi::gateway::application::{Environ, Failure, RequestBody, Response, ResponseBody};
pub use wsgi::gateway::application as inner;
