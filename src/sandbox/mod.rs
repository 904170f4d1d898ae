//! Guests and the walls around them: a chain of links, each of them a component ready to be instantiated, and what its
//! instances may have.

mod application;
mod budget;
mod chain;
mod clocks;
mod contract;
mod failure;
mod files;
mod grants;
mod held;
mod input;
mod instance;
mod instances;
mod inward;
mod label;
mod limits;
mod link;
mod listing;
mod names;
mod network;
mod notes;
mod state;
mod ticker;
mod turns;
mod usual;
mod watch;

use wasmtime::component::Component;

pub use self::application::{Chunks, Reply, ReplyBody};
pub use self::chain::{Chain, Options as ChainOptions};
use self::contract::MiddlewarePre;
pub use self::failure::Failure;
pub use self::grants::{Grants, Options as GrantOptions, variable};
pub use self::input::{Input, Terms, Upload};
pub use self::label::Label;
pub use self::limits::Limits;
pub use self::link::Orders as LinkOrders;
use crate::component::Misfit;

/// Whether a component could be served here: everything it imports is offered, everything it must export is there.
pub fn fits(component: &Component, wasi: bool) -> Result<(), Misfit> {
    let linker = state::linker(component.engine(), wasi).map_err(Misfit::Import)?;
    let pre = linker.instantiate_pre(component).map_err(Misfit::Import)?;
    MiddlewarePre::new(pre).map(drop).map_err(Misfit::Export)
}
