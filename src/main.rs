//! The program: everything is in the library, where a bench can reach it too.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    wsgi_host::main()
}
