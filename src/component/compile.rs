//! Compiling is work on what a stranger wrote. It is done in a process of its own, under limits of the operating system:
//! whatever a component does to the compiler, the arbiter lives, and says what it was.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use serde::{Deserialize, Serialize};
use wasmparser::Validator;
use wasmtime::Engine;

use super::limits::CompileLimits;
use super::{binary, fuse, heap};
use crate::fault::{Fault, Kind, Result};
use crate::units;
use crate::{engine, harden};

/// The name of the hidden command that a compiler is started with.
pub const COMMAND: &str = "compile-component";
/// What is made of a component before it is compiled; the cache tells code by it. To be raised with every change to that.
pub const FORM: [u8; 1] = [2];

/// How often a compiler is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// What it says where there is no memory left for the threads that it compiles in.
const NO_THREAD: &str = "Resource temporarily unavailable";
/// What is read of a compiler's last words.
const LAST_WORDS: u64 = 4 << 10;

/// What the operating system holds a compiler to.
#[derive(Serialize, Deserialize)]
struct Bounds {
    memory_bytes: u64,
    cpu_seconds: Option<u64>,
}

/// Compiles a component; what is returned is the code in wasmtime's own form.
pub fn compile(name: &str, component: &[u8], limits: &CompileLimits) -> Result<Vec<u8>> {
    let internal = |error: io::Error| Fault::new(Kind::Internal, format!("cannot run the compiler: {error}"));
    let mut output = tempfile::tempfile().map_err(internal)?;
    let mut words = tempfile::tempfile().map_err(internal)?;
    let mut child = start(component, limits, &output, &words).map_err(internal)?;
    let status = wait(&mut child, limits.compile_timeout).map_err(internal)?;
    let mut said = Vec::new();
    words.rewind().map_err(internal)?;
    words.take(LAST_WORDS).read_to_end(&mut said).map_err(internal)?;
    let said = String::from_utf8_lossy(&said).trim_end().replace('\n', " ");
    if status.is_some_and(|status| status.success()) {
        let mut code = Vec::new();
        output.rewind().map_err(internal)?;
        output.read_to_end(&mut code).map_err(internal)?;
        return Ok(code);
    }
    Err(explain(name, status, &said, limits))
}

fn start(component: &[u8], limits: &CompileLimits, output: &File, words: &File) -> io::Result<Child> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let bounds = Bounds {
        memory_bytes: limits.compile_memory,
        // It has a thread for each core, and is ended by the clock on the wall before this ends it.
        cpu_seconds: (!limits.compile_timeout.is_zero()).then(|| (limits.compile_timeout.as_secs() + 1) * cores),
    };
    let mut input = tempfile::tempfile()?;
    input.write_all(component)?;
    input.rewind()?;
    Command::new("/proc/self/exe")
        .arg0("wsgi-host: compiler")
        .arg(COMMAND)
        .arg(serde_json::to_string(&bounds)?)
        .stdin(input)
        .stdout(output.try_clone()?)
        .stderr(words.try_clone()?)
        .spawn()
}

/// None if it took too long.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if !limit.is_zero() && start.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

fn explain(name: &str, status: Option<ExitStatus>, said: &str, limits: &CompileLimits) -> Fault {
    let signal = status.and_then(|status| status.signal());
    if status.is_none() || signal == Some(Signal::XCPU.as_raw()) {
        let limit = limits.compile_timeout.as_secs_f64();
        return binary::too_large(
            name,
            &format!("compiling it took more than --compile-timeout {limit} s"),
        );
    }
    match status.and_then(|status| status.code()) {
        Some(code) if code == Kind::Malformed as i32 => {
            Fault::new(Kind::Malformed, format!("{name} is no valid component: {said}"))
        }
        Some(code) if code != Kind::TooLarge as i32 && !said.contains(NO_THREAD) => Fault::new(
            Kind::Internal,
            format!("{name}: the compiler ended with exit status {code}: {said}"),
        ),
        // Where memory runs out in the middle, the process is aborted.
        _ => binary::too_large(
            name,
            &format!(
                "compiling it took more than --compile-memory {} ({said})",
                units::size(limits.compile_memory)
            ),
        ),
    }
}

/// The whole life of a compiler: a component on standard input, its code on standard output.
pub fn run(bounds: &str) -> ExitCode {
    match serve(bounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            let _ = write!(io::stderr(), "{}", fault.message);
            ExitCode::from(fault.exit_status())
        }
    }
}

fn serve(bounds: &str) -> Result<()> {
    let bounds: Bounds = serde_json::from_str(bounds).context("these are no bounds")?;
    bound(&bounds).context("cannot limit itself")?;
    // It needs no file, no network, and runs nothing of what it makes. Where the kernel cannot see to that, it is a
    // compiler all the same.
    let needs = harden::Needs::default();
    let _ = harden::lock(&needs).and_then(|()| harden::filter(&needs));
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component).context("cannot read")?;
    let engine = engine::compiler().map_err(|error| Fault::new(Kind::Internal, format!("{error:#}")))?;
    let code = code(&engine, &component).map_err(|error| {
        let text = format!("{error:#}");
        let kind = if text.contains("Cannot allocate memory") {
            Kind::TooLarge
        } else {
            Kind::Malformed
        };
        Fault::new(kind, text)
    })?;
    io::stdout().lock().write_all(&code).context("cannot write")?;
    Ok(())
}

/// The code of the component as it is worth compiling. Whatever is wrong with it is said of the component as it is.
fn code(engine: &Engine, component: &[u8]) -> wasmtime::Result<Vec<u8>> {
    match better(component).map(|better| engine.precompile_component(&better)) {
        Some(Ok(code)) => Ok(code),
        _ => engine.precompile_component(component),
    }
}

/// The component that does the same and takes less time for it, if there is one.
fn better(component: &[u8]) -> Option<Vec<u8>> {
    // What is left out of it must be valid too.
    let worth = fuse::is_worth_trying(component) && Validator::new().validate_all(component).is_ok();
    let fused = if worth { fuse::fuse(component) } else { None };
    heap::laid_out(fused.as_deref().unwrap_or(component)).or(fused)
}

fn bound(bounds: &Bounds) -> io::Result<()> {
    // Who waits for it may be killed.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let limit = |resource, most| {
        setrlimit(
            resource,
            Rlimit {
                current: Some(most),
                maximum: Some(most),
            },
        )
    };
    limit(Resource::Core, 0)?;
    limit(Resource::Data, bounds.memory_bytes)?;
    if let Some(seconds) = bounds.cpu_seconds {
        limit(Resource::Cpu, seconds)?;
    }
    Ok(())
}
