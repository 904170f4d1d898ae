//! HTTP/2: what an app gets and gives over it, and what RFC 9113 asks of a server.

mod rules;
mod serving;
