//! The items of the fused module, and what the numbers in one part's code mean there.

use std::collections::HashMap;

use wasmparser::{ExternalKind, FuncType};

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Function {
    /// By its place in the shim.
    Imported(u32),
    /// By its place among those of all parts.
    Own(u32),
}

/// An item of the whole, whatever part it came from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Item {
    Function(Function),
    Table(u32),
    Memory(u32),
    Global(u32),
}

/// What the numbers in the code of one part mean.
#[derive(Default)]
pub struct Numbers {
    pub functions: Vec<Function>,
    pub tables: Vec<u32>,
    pub memories: Vec<u32>,
    pub globals: Vec<u32>,
    pub types: Vec<u32>,
    pub data: Vec<u32>,
}

impl Numbers {
    pub fn get(&self, kind: ExternalKind, index: u32) -> Option<Item> {
        let index = index as usize;
        match kind {
            ExternalKind::Func => self.functions.get(index).copied().map(Item::Function),
            ExternalKind::Table => self.tables.get(index).copied().map(Item::Table),
            ExternalKind::Memory => self.memories.get(index).copied().map(Item::Memory),
            ExternalKind::Global => self.globals.get(index).copied().map(Item::Global),
            _ => None,
        }
    }

    pub fn add(&mut self, item: Item) {
        match item {
            Item::Function(function) => self.functions.push(function),
            Item::Table(table) => self.tables.push(table),
            Item::Memory(memory) => self.memories.push(memory),
            Item::Global(global) => self.globals.push(global),
        }
    }
}

/// Types, each of them once.
#[derive(Default)]
pub struct Types {
    pub all: Vec<FuncType>,
    known: HashMap<FuncType, u32>,
}

impl Types {
    pub fn add(&mut self, ty: &FuncType) -> u32 {
        *self.known.entry(ty.clone()).or_insert_with(|| {
            self.all.push(ty.clone());
            self.all.len() as u32 - 1
        })
    }
}
