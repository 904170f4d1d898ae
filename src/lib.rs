//! Language-neutral WSGI: serves web apps that are WebAssembly components, each request in a fresh sandbox.
//!
//! A request walks through these rooms: [`arbiter`] (which only starts what follows), [`worker`], [`gate`], [`connection`],
//! [`request`], [`environ`], [`sandbox`], [`response`], [`body`], [`access_log`]; what is no request is stopped by [`strict`].
//! See ARCHITECTURE.md.

#![deny(unsafe_code)]

mod access_log;
mod activation;
mod arbiter;
mod balance;
#[doc(hidden)]
pub mod bench;
mod body;
mod cli;
mod component;
mod config;
mod connection;
mod crowd;
mod descriptors;
mod engine;
mod environ;
mod fault;
mod flow;
mod gate;
mod glibc;
mod harden;
mod identity;
mod links;
mod listener;
mod log;
mod origin_form;
mod pace;
mod progress;
mod proxy;
mod proxy_protocol;
mod python;
mod request;
mod request_body;
mod response;
mod sandbox;
mod serve;
mod strict;
mod tls;
mod transport;
mod units;
mod vars;
mod worker;

pub use cli::main;
