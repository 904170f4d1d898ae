//! The fused module, written.

use std::convert::Infallible;

use anyhow::{Context, Result, bail};
use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{
    CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection, Elements, EntityType, ExportKind,
    ExportSection, FunctionSection, GlobalSection, ImportSection, Instruction, MemorySection, Module, NameMap,
    NameSection, StartSection, TableSection, TypeSection, ValType,
};
use wasmparser::{FuncType, Operator};

use super::kept::Kept;
use super::numbers::{Item, Numbers};
use super::outline::Exported;
use super::shim;
use super::whole::{Data, Whole};

pub fn write(whole: &Whole<'_>, kept: &Kept) -> Result<Module> {
    let mut module = Module::new();
    let mut types = TypeSection::new();
    for ty in whole.types.all.iter().chain(&whole.shims) {
        add_type(&mut types, ty)?;
    }
    module.section(&types);
    let mut imports = ImportSection::new();
    for place in &kept.imports {
        let ty = EntityType::Function(whole.types.all.len() as u32 + place);
        imports.import(shim::SHIM, &place.to_string(), ty);
    }
    module.section(&imports);
    let mut functions = FunctionSection::new();
    for place in &kept.own {
        functions.function(whole.own[*place as usize].ty);
    }
    module.section(&functions);
    add_places(whole, kept, &mut module)?;
    module.section(&exports(whole, kept)?);
    if let Some(start) = whole.start {
        let function_index = kept.index(start);
        module.section(&StartSection { function_index });
    }
    module.section(&elements(whole, kept)).section(&DataCountSection {
        count: whole.data.len() as u32,
    });
    let mut code = CodeSection::new();
    for place in &kept.own {
        let own = &whole.own[*place as usize];
        let numbers = &whole.numbers[&own.instance];
        let mut translation = Translation { whole, kept, numbers };
        translation.parse_function_body(&mut code, own.body.clone())?;
    }
    module.section(&code);
    let mut data = DataSection::new();
    for Data { place, bytes } in &whole.data {
        let bytes = bytes.iter().copied();
        match place {
            Some((memory, offset)) => data.active(*memory, &ConstExpr::i32_const(*offset), bytes),
            None => data.passive(bytes),
        };
    }
    module.section(&data).section(&names(whole, kept));
    Ok(module)
}

/// Tables, memories and globals.
fn add_places(whole: &Whole<'_>, kept: &Kept, module: &mut Module) -> Result<()> {
    let (mut tables, mut memories, mut globals) = (TableSection::new(), MemorySection::new(), GlobalSection::new());
    for table in &whole.tables {
        tables.table(Plain.table_type(*table)?);
    }
    for memory in &whole.memories {
        memories.memory(Plain.memory_type(*memory)?);
    }
    for (global, index) in whole.globals.iter().zip(&kept.globals) {
        if index.is_some() {
            globals.global(Plain.global_type(global.ty)?, &global.value.expression());
        }
    }
    module.section(&tables).section(&memories).section(&globals);
    Ok(())
}

fn exports(whole: &Whole<'_>, kept: &Kept) -> Result<ExportSection> {
    let mut exports = ExportSection::new();
    for ((instance, name), item) in &whole.exports {
        let (kind, index) = match *item {
            Item::Function(function) => (ExportKind::Func, kept.index(function)),
            Item::Table(index) => (ExportKind::Table, index),
            Item::Memory(index) => (ExportKind::Memory, index),
            Item::Global(_) => bail!("{name} is a global"),
        };
        let exported = Exported {
            instance: *instance,
            name,
        };
        exports.export(&whole.export(exported).context("an export has no name")?, kind, index);
    }
    Ok(exports)
}

fn elements(whole: &Whole<'_>, kept: &Kept) -> ElementSection {
    let mut elements = ElementSection::new();
    for segment in &whole.segments {
        let functions: Vec<u32> = segment.functions.iter().map(|function| kept.index(*function)).collect();
        // The first table is the one that has no number in the older form of a segment.
        let table = Some(segment.table).filter(|table| *table != 0);
        let offset = ConstExpr::i32_const(segment.offset.cast_signed());
        elements.active(table, &offset, Elements::Functions(functions.into()));
    }
    if !kept.taken.is_empty() {
        let taken: Vec<u32> = kept.taken.iter().map(|function| kept.index(*function)).collect();
        elements.declared(Elements::Functions(taken.into()));
    }
    elements
}

/// What functions are called, for who reads where one trapped.
fn names(whole: &Whole<'_>, kept: &Kept) -> NameSection {
    let mut functions = NameMap::new();
    for (index, place) in (kept.imports.len() as u32..).zip(&kept.own) {
        if let Some(name) = whole.own[*place as usize].name {
            functions.append(index, name);
        }
    }
    let mut names = NameSection::new();
    names.functions(&functions);
    names
}

/// The code of one part, with the numbers of the fused module.
struct Translation<'w, 'a> {
    whole: &'w Whole<'a>,
    kept: &'w Kept,
    numbers: &'w Numbers,
}

impl Reencode for Translation<'_, '_> {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, reencode::Error> {
        Ok(self.kept.index(self.numbers.functions[function as usize]))
    }

    fn type_index(&mut self, ty: u32) -> Result<u32, reencode::Error> {
        Ok(self.numbers.types[ty as usize])
    }

    fn table_index(&mut self, table: u32) -> Result<u32, reencode::Error> {
        Ok(self.numbers.tables[table as usize])
    }

    fn memory_index(&mut self, memory: u32) -> Result<u32, reencode::Error> {
        Ok(self.numbers.memories[memory as usize])
    }

    fn data_index(&mut self, data: u32) -> Result<u32, reencode::Error> {
        Ok(self.numbers.data[data as usize])
    }

    fn global_index(&mut self, global: u32) -> Result<u32, reencode::Error> {
        let global = self.numbers.globals[global as usize];
        Ok(self.kept.globals[global as usize].expect("who is not set is read as a constant"))
    }

    fn instruction<'a>(&mut self, operator: Operator<'a>) -> Result<Instruction<'a>, reencode::Error> {
        if let Operator::GlobalGet { global_index } = operator {
            let global = self.numbers.globals[global_index as usize] as usize;
            if self.kept.globals[global].is_none() {
                return Ok(self.whole.globals[global].value.instruction());
            }
        }
        reencode::utils::instruction(self, operator)
    }
}

/// What has no numbers in it.
struct Plain;

impl Reencode for Plain {
    type Error = Infallible;
}

pub fn add_type(section: &mut TypeSection, ty: &FuncType) -> Result<()> {
    let values = |types: &[wasmparser::ValType]| -> Result<Vec<ValType>> {
        types.iter().map(|ty| Ok(Plain.val_type(*ty)?)).collect()
    };
    section.ty().function(values(ty.params())?, values(ty.results())?);
    Ok(())
}
