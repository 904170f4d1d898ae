//! What the component around the modules uses of them.

use std::collections::BTreeSet;

use anyhow::Result;
use wasm_encoder::Component;
use wasm_encoder::reencode::{Reencode, ReencodeComponent, component_utils};
use wasmparser::{ExternalKind, Payload};

use super::outline::{CoreInstance, Exported, Function, Outline};
use super::shim::Shim;
use crate::component::sections::{Read, go_through};

/// The core items that the component itself refers to, by their numbers there.
#[derive(Default)]
pub struct Uses<'a> {
    pub functions: BTreeSet<u32>,
    pub tables: BTreeSet<u32>,
    pub memories: BTreeSet<u32>,
    /// What of this the fused module has to export.
    exports: Vec<Exported<'a>>,
}

impl<'a> Uses<'a> {
    pub fn of(bytes: &[u8], outline: &Outline<'a>, shim: &Shim) -> Result<Self> {
        let mut search = Search(Self::default());
        go_through(&mut search, bytes)?;
        let mut uses = search.0;
        if let CoreInstance::Bag(items) = &outline.instances[shim.functions as usize] {
            let functions = items.values().filter(|item| item.kind == ExternalKind::Func);
            uses.functions.extend(functions.map(|item| item.index));
        }
        let functions = uses
            .functions
            .iter()
            .filter_map(|index| match &outline.functions[*index as usize] {
                Function::Exported(exported) => Some(exported),
                Function::Made => None,
            });
        let tables = uses.tables.iter().map(|index| &outline.tables[*index as usize]);
        let memories = uses.memories.iter().map(|index| &outline.memories[*index as usize]);
        uses.exports = functions
            .chain(tables)
            .chain(memories)
            .filter(|exported| exported.instance != shim.instance)
            .copied()
            .collect();
        Ok(uses)
    }

    pub fn exports(&self) -> impl Iterator<Item = Exported<'a>> {
        self.exports.iter().copied()
    }
}

/// Goes through a component for its uses, and writes nothing that anybody reads.
struct Search<'a>(Uses<'a>);

impl Reencode for Search<'_> {
    type Error = anyhow::Error;

    fn function_index(&mut self, index: u32) -> Read<u32> {
        self.0.functions.insert(index);
        Ok(index)
    }

    fn table_index(&mut self, index: u32) -> Read<u32> {
        self.0.tables.insert(index);
        Ok(index)
    }

    fn memory_index(&mut self, index: u32) -> Read<u32> {
        self.0.memories.insert(index);
        Ok(index)
    }
}

impl ReencodeComponent for Search<'_> {
    fn parse_component_payload(&mut self, component: &mut Component, payload: Payload<'_>, all: &[u8]) -> Read<()> {
        match payload {
            Payload::InstanceSection(_)
            | Payload::ModuleSection { .. }
            | Payload::ComponentSection { .. }
            | Payload::CustomSection(_) => Ok(()),
            payload => component_utils::parse_component_payload(self, component, payload, all),
        }
    }
}
