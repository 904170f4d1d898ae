//! A component whose core modules were linked to each other when it was built, as a component of few modules: the
//! same functions, in one module that owns its memory and its table.
//!
//! A Python app comes as some fifteen modules, which import each other's functions, memory, table and globals as shared
//! libraries do. An instance has to look up all of it each time it is made, and code that reaches memory through
//! an import is slower than code whose memory is its own. What they are linked to never changes, so it is done here once:
//!
//! - calls from one module to another become calls, also where they went through the table ([`whole`]);
//! - globals that nobody sets become constants: addresses of data and of functions, mostly;
//! - what cannot be reached any more is left out.
//!
//! What has the shape that wit-component gives such a component is accepted: a module of shims, which is there first
//! and stands in for what the host offers, a fix-up that fills in its table at the end, and all others between these.

mod constant;
mod kept;
mod module;
mod numbers;
mod outline;
mod part;
mod rewrite;
mod shim;
mod whole;

use anyhow::Result;

use kept::Kept;
use outline::Outline;
use rewrite::Uses;
use shim::Shim;
use whole::Whole;

/// The component with its modules fused, and those of the components in it, as far as they have the shape for it. It has
/// to be a valid one. None if there is nothing to be done.
pub fn fuse(bytes: &[u8]) -> Option<Vec<u8>> {
    let inside = rewrite::within(bytes, fuse);
    match level(inside.as_deref().unwrap_or(bytes)) {
        Ok(fused) => Some(fused),
        Err(_) => inside,
    }
}

/// The modules of a component itself; or why they are not fused.
fn level(bytes: &[u8]) -> Result<Vec<u8>> {
    let outline = Outline::of(bytes)?;
    let mut shim = Shim::of(&outline)?;
    let uses = Uses::of(bytes, &outline, &shim)?;
    let whole = Whole::of(&outline, &mut shim, &uses)?;
    let module = module::write(&whole, &Kept::of(&whole)?)?;
    rewrite::rewrite(bytes, &outline, &shim, &uses, &whole, &module)
}

#[cfg(test)]
mod tests {
    #[test]
    fn try_it() {
        let bytes = std::fs::read(std::env::var("FUSE_IN").unwrap()).unwrap();
        let start = std::time::Instant::now();
        let _ = super::level(&bytes).map_err(|error| println!("level: {error:#}"));
        let out = super::fuse(&bytes).unwrap();
        println!("{:?}", start.elapsed());
        std::fs::write(std::env::var("FUSE_OUT").unwrap(), out).unwrap();
    }
}
