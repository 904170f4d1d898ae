//! A component whose guest has a heap from the beginning: the memory that its first allocations would make it ask for.
//!
//! What languages are compiled with asks for memory when something is first allocated, which is in every request where each
//! has an instance of its own: two calls of the kernel, one to make the memory accessible, one to take it back. So the guest's
//! own allocator, which components export for what they are given (`cabi_realloc`), is asked for a heap once, and gives it back
//! all but a byte. What the memory is by then is what instances start with. The guest behaves as one that has been called with
//! a short string: what lies beyond its memory traps as it did.
//!
//! The allocator is the only code of the guest that runs here, in a sandbox that has nothing, and that ends it if it is not
//! done soon. Whatever it does beyond writing to its memory, the component is left as it is.

use std::collections::BTreeSet;
use std::ops::Range;

use anyhow::{Context, Result, anyhow, bail, ensure};
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, ConstExpr, DataCountSection, DataSection, ExportKind, ExportSection, Function, Instruction,
    MemorySection, Module, RawSection, Section, SectionId,
};
use wasmparser::{ExternalKind, FuncType, Operator, Parser, Payload, ValType};
use wasmtime::{Config, Engine, Linker, Store, StoreLimits, StoreLimitsBuilder, Val};

use super::part::{self, Part};
use super::sections::{self, COMPONENT_SECTION, MODULE_SECTION, sections};

/// What a guest gets: enough for what requests and responses are made of, and some blocks of a body.
const HEAP_BYTES: u32 = 256 << 10;
/// A guest that starts with more than this has it for its heap, mostly; and all of it would have to be compared.
const MOST_PAGES: u64 = 64;
/// What it may have at the end.
const MOST_MEMORY_BYTES: usize = 8 << 20;
/// Of a table.
const MOST_ELEMENTS: usize = 100_000;
/// About so many instructions; allocators take some hundreds.
const MOST_INSTRUCTIONS: u64 = 100_000;
/// Bytes that did not change between some that did are written down with these, as a piece has a head of its own.
const GAP_BYTES: usize = 16;

/// What the Component Model's tools call the function that allocates: `(old, old bytes, alignment, new bytes) -> new`.
const REALLOC: &str = "cabi_realloc";
/// What the memory is called in the module that is run here.
const MEMORY: &str = "memory";

const CUSTOM_SECTION: u8 = SectionId::Custom as u8;
const MEMORY_SECTION: u8 = SectionId::Memory as u8;
const EXPORT_SECTION: u8 = SectionId::Export as u8;
const CODE_SECTION: u8 = SectionId::Code as u8;
const DATA_SECTION: u8 = SectionId::Data as u8;
const DATA_COUNT_SECTION: u8 = SectionId::DataCount as u8;

/// The component whose guests have a heap, also those of the components in it. None if there is nothing to be done.
pub fn laid_out(bytes: &[u8]) -> Option<Vec<u8>> {
    let starts = starts(bytes).unwrap_or(true);
    sections::replaced(bytes, |id, section| match id {
        MODULE_SECTION if !starts => module(section).ok(),
        COMPONENT_SECTION => laid_out(section),
        _ => None,
    })
}

/// Whether a module of the component has code that runs by itself: to allocate would come before it here.
fn starts(bytes: &[u8]) -> Result<bool> {
    for section in sections(bytes)? {
        if let Payload::ModuleSection { unchecked_range, .. } = section {
            for payload in Parser::new(0).parse_all(&bytes[unchecked_range]) {
                if matches!(payload?, Payload::StartSection { .. }) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// The module with a heap; or why it gets none.
fn module(bytes: &[u8]) -> Result<Vec<u8>> {
    let part = Part::of(bytes)?;
    let realloc = realloc(&part)?;
    let heap = Heap::of(&probe(bytes, &part, realloc)?).map_err(|error| anyhow!("{error:#}"))?;
    with(bytes, &part, &heap)
}

/// The function that allocates, in a module that has one memory, and nothing of others but functions.
fn realloc(part: &Part<'_>) -> Result<u32> {
    let Some((ExternalKind::Func, realloc)) = part.exports.get(REALLOC) else {
        bail!("it does not allocate");
    };
    let functions = part.imported_functions().count();
    ensure!(functions == part.imports.len(), "it has more than functions of others");
    let index = (*realloc as usize)
        .checked_sub(functions)
        .context("it does not allocate itself")?;
    let ty = part.functions.get(index).context("a function is missing")?;
    let expected = FuncType::new([ValType::I32; 4], [ValType::I32]);
    ensure!(
        part.types.get(*ty as usize) == Some(&expected),
        "its allocator is another one"
    );
    let [memory] = &part.memories[..] else {
        bail!("it has not one memory");
    };
    let usual = !memory.memory64 && !memory.shared && memory.page_size_log2.is_none();
    ensure!(usual && memory.initial <= MOST_PAGES, "it has another memory");
    Ok(*realloc)
}

/// The module that is run: of its code, there is what the allocator calls; what it has that can change is exported.
fn probe(bytes: &[u8], part: &Part<'_>, realloc: u32) -> Result<Vec<u8>> {
    let called = called(part, realloc)?;
    let mut exports = ExportSection::new();
    exports
        .export(MEMORY, ExportKind::Memory, 0)
        .export(REALLOC, ExportKind::Func, realloc);
    for (index, global) in (0..).zip(&part.globals) {
        if global.ty.mutable {
            exports.export(&index.to_string(), ExportKind::Global, index);
        }
    }
    let mut code = CodeSection::new();
    let imported = part.imported_functions().count() as u32;
    for (index, body) in (imported..).zip(&part.bodies) {
        if called.contains(&index) {
            code.raw(body.as_bytes());
        } else {
            let mut none = Function::new([]);
            none.instruction(&Instruction::Unreachable)
                .instruction(&Instruction::End);
            code.function(&none);
        }
    }
    rewritten(bytes, |module, id| {
        match id {
            EXPORT_SECTION => module.section(&exports),
            CODE_SECTION => module.section(&code),
            CUSTOM_SECTION => module,
            _ => return false,
        };
        true
    })
}

/// The functions that a function calls, and those call; there are none among them that could change more than memory
/// and globals.
fn called(part: &Part<'_>, function: u32) -> Result<BTreeSet<u32>> {
    let imported = part.imported_functions().count();
    let (mut called, mut ahead) = (BTreeSet::new(), vec![function]);
    while let Some(function) = ahead.pop() {
        let Some(own) = (function as usize).checked_sub(imported) else {
            continue;
        };
        if !called.insert(function) {
            continue;
        }
        let body = part.bodies.get(own).context("a function is missing")?;
        for operator in body.get_operators_reader()? {
            match operator? {
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    ahead.push(function_index);
                }
                Operator::DataDrop { .. } => bail!("its allocator drops data"),
                operator => ensure!(!part::changes_tables(&operator), "its allocator changes a table"),
            }
        }
    }
    Ok(called)
}

/// What a memory is once there is a heap in it.
struct Heap {
    pages: u64,
    /// The bytes that are others than before, by where they are.
    pieces: Vec<(u32, Vec<u8>)>,
}

impl Heap {
    fn of(probe: &[u8]) -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config.consume_fuel(true).target("pulley64")?;
        let engine = Engine::new(&config)?;
        let module = wasmtime::Module::new(&engine, probe)?;
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&module)?;
        let limits = StoreLimitsBuilder::new()
            .memory_size(MOST_MEMORY_BYTES)
            .table_elements(MOST_ELEMENTS);
        let mut store = Store::new(&engine, limits.build());
        store.limiter(|limits: &mut StoreLimits| limits);
        store.set_fuel(MOST_INSTRUCTIONS)?;
        let instance = linker.instantiate(&mut store, &module)?;
        let memory = instance
            .get_memory(&mut store, MEMORY)
            .ok_or_else(|| wasmtime::format_err!("it has no memory"))?;
        let globals: Vec<_> = module
            .exports()
            .filter_map(|export| instance.get_global(&mut store, export.name()))
            .collect();
        let numbers = |store: &mut Store<StoreLimits>| -> Option<Vec<u64>> {
            globals.iter().map(|global| number(&global.get(&mut *store))).collect()
        };
        let (before, set) = (memory.data(&store).to_vec(), numbers(&mut store));
        let realloc = instance.get_typed_func::<(u32, u32, u32, u32), u32>(&mut store, REALLOC)?;
        let heap = realloc.call(&mut store, (0, 0, 1, HEAP_BYTES))?;
        realloc.call(&mut store, (heap, HEAP_BYTES, 1, 1))?;
        let same = set.is_some() && set == numbers(&mut store);
        wasmtime::ensure!(same, "its allocator keeps something in a global");
        let after = memory.data(&store);
        wasmtime::ensure!(after.len() > before.len(), "it had a heap");
        let pieces = changes(&before, after).into_iter();
        Ok(Self {
            pages: memory.size(&store),
            pieces: pieces
                .map(|range| (range.start as u32, after[range].to_vec()))
                .collect(),
        })
    }
}

/// The bits of a number; none of what is no number.
fn number(value: &Val) -> Option<u64> {
    match value {
        Val::I32(value) => Some(u64::from(value.cast_unsigned())),
        Val::I64(value) => Some(value.cast_unsigned()),
        Val::F32(bits) => Some(u64::from(*bits)),
        Val::F64(bits) => Some(*bits),
        _ => None,
    }
}

/// Where bytes are others than before, which were zeros beyond its end.
fn changes(before: &[u8], after: &[u8]) -> Vec<Range<usize>> {
    let mut changes: Vec<Range<usize>> = Vec::new();
    for (place, byte) in after.iter().enumerate() {
        if *byte == before.get(place).copied().unwrap_or(0) {
            continue;
        }
        match changes.last_mut() {
            Some(last) if place - last.end <= GAP_BYTES => last.end = place + 1,
            _ => changes.push(place..place + 1),
        }
    }
    changes
}

/// The module whose memory is that.
fn with(bytes: &[u8], part: &Part<'_>, heap: &Heap) -> Result<Vec<u8>> {
    let mut memories = MemorySection::new();
    for memory in &part.memories {
        let mut memory = RoundtripReencoder.memory_type(*memory)?;
        memory.minimum = heap.pages;
        memories.memory(memory);
    }
    let mut data = DataSection::new();
    for old in &part.data {
        RoundtripReencoder.parse_data(&mut data, old.clone())?;
    }
    for (place, bytes) in &heap.pieces {
        data.active(0, &ConstExpr::i32_const(place.cast_signed()), bytes.iter().copied());
    }
    let count = data.len();
    let mut has_data = false;
    let mut new = rewritten(bytes, |module, id| {
        match id {
            MEMORY_SECTION => module.section(&memories),
            DATA_COUNT_SECTION => module.section(&DataCountSection { count }),
            DATA_SECTION => {
                has_data = true;
                module.section(&data)
            }
            _ => return false,
        };
        true
    })?;
    if !has_data {
        data.append_to(&mut new);
    }
    Ok(new)
}

/// The module with its sections as somebody writes them, who says of each whether that has been done.
fn rewritten(bytes: &[u8], mut write: impl FnMut(&mut Module, u8) -> bool) -> Result<Vec<u8>> {
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(bytes) {
        if let Some((id, range)) = payload?.as_section()
            && !write(&mut module, id)
        {
            let data = &bytes[range];
            module.section(&RawSection { id, data });
        }
    }
    Ok(module.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::test_instance;

    const ALLOCATING: &str = include_str!("../../tests/corpus/components/allocating.wat");

    /// What a function of a fresh instance returns; none if it traps.
    fn result(bytes: &[u8], function: &str, parameter: Option<u32>) -> Option<u32> {
        let (mut store, instance) = test_instance(bytes);
        let result = match parameter {
            Some(parameter) => {
                let function = instance.get_typed_func::<(u32,), (u32,)>(&mut store, function).unwrap();
                function.call(&mut store, (parameter,))
            }
            None => {
                let function = instance.get_typed_func::<(), (u32,)>(&mut store, function).unwrap();
                function.call(&mut store, ())
            }
        };
        result.ok().map(|(result,)| result)
    }

    #[test]
    fn a_guest_has_a_heap_before_it_asks() {
        let before = wat::parse_str(ALLOCATING).unwrap();
        let after = laid_out(&before).unwrap();
        let pages = |bytes| [0, 1000, 200_000].map(|wanted| result(bytes, "pages", Some(wanted)));
        assert_eq!(pages(&before), [Some(1), Some(2), Some(5)]);
        assert_eq!(pages(&after), [Some(5); 3]);
        for bytes in [&before, &after] {
            assert_eq!(result(bytes, "text", None), Some(5));
            assert_eq!(result(bytes, "beyond", None), None, "what lies beyond a memory traps");
        }
        // Without data of its own.
        let bare = ALLOCATING.replace("(data (i32.const 16) \"hello\")", "");
        let bare = laid_out(&wat::parse_str(bare).unwrap()).unwrap();
        assert_eq!(result(&bare, "pages", Some(1000)), Some(5));
        let outer = format!("(component {})", ALLOCATING.replace("(component", "(component $inner"));
        assert!(
            laid_out(&wat::parse_str(outer).unwrap()).is_some(),
            "a component in another"
        );
    }

    #[test]
    fn an_allocator_that_does_anything_else_is_left_alone() {
        let changed = |from: &str, to: &str| {
            assert!(ALLOCATING.contains(from), "{from}");
            laid_out(&wat::parse_str(ALLOCATING.replace(from, to)).unwrap()).is_some()
        };
        let first = "(local $end i32)\n";
        for does in [
            "unreachable",
            "(loop br 0)",
            "(drop (call $length (i32.const 16) (i32.const 5)))",
            "(global.set $set (i32.const 8))",
            "(table.set (i32.const 0) (ref.null func))",
            "(drop (memory.grow (i32.const -1))) (if (i32.eq (memory.size) (i32.const 1)) (then unreachable))",
            // Whatever it would call there is not looked at.
            "(drop (call_indirect (result i32) (i32.const 0)))",
        ] {
            assert!(!changed(first, &format!("{first} {does}\n")), "{does}");
        }
        assert!(changed(
            first,
            &format!("{first} (global.set $set (global.get $set))\n")
        ));
        assert!(!changed("\"cabi_realloc\"", "\"other\""));
        assert!(!changed("1 10)", "1 2)"), "it may not have so much");
        assert!(!changed("1 10)", "65 80)"), "it has enough");
        assert!(
            !changed("(core module $memory ", "(core module $memory (func) (start 0) "),
            "something that starts by itself"
        );
    }
}
