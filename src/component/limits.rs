//! What a component may be before it is served, and what compiling it may cost.

use std::time::Duration;

use clap::Args;

use crate::units;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Components")]
pub struct Limits {
    /// The largest component, not counting the files that it brings along.
    #[arg(long, default_value = "128M", value_parser = units::bytes, value_name = "BYTES")]
    pub limit_component_size: u64,

    /// Core instances that an instance of a component may consist of.
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    pub limit_component_instances: u32,

    /// Memories that an instance of a component may have.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub limit_component_memories: u32,

    /// Tables that an instance of a component may have.
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub limit_component_tables: u32,
}

/// What compiling a component may cost.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Components")]
pub struct CompileLimits {
    /// Seconds that compiling a component may take. 0: no limit.
    #[arg(long, default_value = "300", value_parser = units::seconds, value_name = "SECONDS")]
    pub compile_timeout: Duration,

    /// Memory that compiling a component may take.
    #[arg(long, default_value = "4G", value_parser = units::bytes, value_name = "BYTES")]
    pub compile_memory: u64,
}

#[cfg(test)]
impl Default for Limits {
    /// Less than what the command line has, so that what is beyond it is made quickly.
    fn default() -> Self {
        Self {
            limit_component_size: 1 << 20,
            limit_component_instances: 10,
            limit_component_memories: 10,
            limit_component_tables: 10,
        }
    }
}

#[cfg(test)]
impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            compile_timeout: Duration::ZERO,
            compile_memory: 1 << 30,
        }
    }
}
