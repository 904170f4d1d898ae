//! The two engines: one that compiles (arbiter, `compile`, `inspect`) and one that runs (worker).
//!
//! They share every setting that reaches the machine code, so what the first one compiles the second one
//! maps; they differ only in where instances get their memory from.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::component::Component;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// What one instance of a component takes from the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    pub memories: u32,
    pub tables: u32,
    pub largest_initial_memory_bytes: u64,
    pub largest_table_elements: u64,
}

/// A page of linear memory, which wasmtime counts in.
const PAGE_BYTES: u64 = 64 << 10;

impl Needs {
    /// None for a component that instantiates what it imports, so that there is no telling.
    pub fn of(component: &Component) -> Option<Self> {
        let resources = component.resources_required()?;
        Some(Self {
            memories: resources.num_memories,
            tables: resources.num_tables,
            largest_initial_memory_bytes: resources
                .max_initial_memory_size
                .unwrap_or(0)
                .saturating_mul(PAGE_BYTES),
            largest_table_elements: resources.max_initial_table_size.unwrap_or(0),
        })
    }
}

/// How often a guest that computes is looked at. A worker has one thread: this is how long guests that compute without end
/// delay its other requests in one go. Every tick wakes a thread of each link, on a core that a worker may need.
pub const TICK: Duration = Duration::from_millis(1);

/// What host calls made on a guest's behalf may need of its stack, beside what WebAssembly itself may use.
const HOST_STACK_BYTES: usize = 512 << 10;

/// Address space is what pooling reserves: 4 GiB and a guard for every memory of every slot. This many
/// bytes of it, of the 128 TiB that a process has, bound how many slots there can be.
const ADDRESS_SPACE_BYTES: u64 = 48 << 40;
const ADDRESS_SPACE_PER_MEMORY_BYTES: u64 = (4 << 30) + (64 << 20);

/// Linux lets a process have 65,530 mappings (vm.max_map_count); this many are for the slots of all links together.
const MAPPINGS: u64 = 60_000;
/// The two stacks of a slot and their guards, and what a memory in use is split into.
const MAPPINGS_PER_SLOT: u64 = 4;
const MAPPINGS_PER_MEMORY: u64 = 4;

/// Bytes of memory that a slot keeps resident between two uses, of an image of so many. The pages that a guest has written to
/// are found by a scan (Linux's PAGEMAP_SCAN): so much of them is copied back from the image, which beats giving pages up and
/// faulting them in again; what lies beyond is given up, so that a slot does not keep what one request in a thousand needs.
fn keep_resident(image_bytes: u64) -> usize {
    usize::try_from(image_bytes / 4)
        .unwrap_or(usize::MAX)
        .clamp(1 << 20, 8 << 20)
}

/// What everything compiled here depends on.
fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20))
        // A memory of more than 4 GiB would need bounds checks at every access, and no limit here allows it.
        .wasm_memory64(false);
    config
}

/// The engine that compiles, and that nothing is ever run on.
pub fn compiler() -> wasmtime::Result<Engine> {
    Engine::new(&config())
}

/// Opens what runners look up their dirty pages in (see [`keep_resident`]): a process that has given up its rights to
/// files cannot, and would copy every page back instead.
pub fn open_page_map() {
    PoolingAllocationConfig::is_pagemap_scan_available();
}

/// How many instances of a component with these needs fit its share of the address space, at most `wanted`.
pub fn slots(needs: &Needs, wanted: u32, shares: u32) -> u32 {
    let (shares, memories) = (u64::from(shares.max(1)), u64::from(needs.memories.max(1)));
    let by_space = ADDRESS_SPACE_BYTES / shares / (memories * ADDRESS_SPACE_PER_MEMORY_BYTES);
    let by_mappings = MAPPINGS / shares / (MAPPINGS_PER_SLOT + memories * MAPPINGS_PER_MEMORY);
    let fit = u32::try_from(by_space.min(by_mappings)).unwrap_or(u32::MAX);
    wanted.min(fit).max(1)
}

/// The engine that runs: `slots` instances of a component at once, each of which asks for `needs` and gets at most so
/// much memory and stack.
pub fn runner(needs: &Needs, slots: u32, max_memory_bytes: usize, max_stack_bytes: usize) -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(slots)
        // What has no size of its own in the pool needs no limit: the arbiter has looked at the component.
        .total_core_instances(u32::MAX)
        .total_memories(slots.saturating_mul(needs.memories))
        .total_tables(slots.saturating_mul(needs.tables))
        .total_stacks(slots.saturating_mul(2))
        .max_component_instance_size(16 << 20)
        .max_core_instance_size(16 << 20)
        .max_memories_per_component(needs.memories.max(1))
        .max_tables_per_component(needs.tables.max(1))
        .max_memories_per_module(needs.memories.max(1))
        .max_tables_per_module(needs.tables.max(1))
        .table_elements(
            usize::try_from(needs.largest_table_elements)
                .unwrap_or(usize::MAX)
                .max(10_000),
        )
        .max_memory_size(max_memory_bytes)
        .max_unused_warm_slots(slots)
        .linear_memory_keep_resident(keep_resident(needs.largest_initial_memory_bytes))
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut config = config();
    // Recursion beyond the stack traps.
    config.async_stack_size(max_stack_bytes + HOST_STACK_BYTES);
    config.max_wasm_stack(max_stack_bytes);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}
