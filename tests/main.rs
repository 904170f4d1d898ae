//! The program from outside: every suite starts the real binary on a free port and looks at the bytes that
//! come back and at what the log says. `tests/run` builds the guests that they need.

mod harness;

mod benches;
mod browser;
mod chain;
mod clients;
mod command_line;
mod environ;
mod guests;
mod hostile;
mod hostile_clients;
mod http2;
mod input;
mod iterables;
mod limits;
mod middleware;
mod misbehaviour;
mod nginx;
mod processes;
mod proxies;
mod python;
mod responses;
mod strict;
mod tls;
