//! Chains of middleware around an app, each link in a sandbox of its own.

mod passing;
