//! What stands in for the host's functions until they are there. They need the memory of the module that calls them,
//! which therefore has to be made first: it calls functions that look into a table, and that table is filled in at the end.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use wasm_encoder::{
    CodeSection, ConstExpr, ElementSection, Elements, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    ImportSection, Instruction, Module, RefType, StartSection, TableSection, TableType, TypeSection,
};
use wasmparser::{ExternalKind, FuncType, Import, TypeRef};

use super::constant::Constant;
use super::module;
use super::outline::{Exported, Outline};
use crate::component::part::{self, Part};

/// The table's name, in the shim and in the fix-up.
const TABLE: &str = "$imports";
/// What the new fix-up imports the functions and the table from, and what it starts.
pub const FUNCTIONS: &str = "actual";
pub const SHIM: &str = "shim";
pub const FUSED: &str = "fused";

pub struct Shim {
    /// The core instances of shim and fix-up, and the bag of functions that the latter is given.
    pub instance: u32,
    pub fixup: u32,
    pub functions: u32,
    /// The type of each function, whose name is its place here.
    types: Vec<FuncType>,
    /// The component's core functions for those that are added to what the shim had.
    added: Vec<u32>,
    /// Their places.
    places: HashMap<u32, u32>,
}

impl Shim {
    pub fn of(outline: &Outline<'_>) -> Result<Self> {
        outline.check()?;
        let (fixup, part) = (0..outline.instances.len() as u32)
            .filter_map(|instance| Some((instance, outline.part(instance)?)))
            .find(|(_, part)| part.imports.iter().any(is_table))
            .context("it has no fix-up of imports")?;
        let table = part
            .imports
            .iter()
            .find(|import| is_table(import))
            .context("there is no table")?;
        let instance = outline.origin(Exported {
            instance: outline.argument(fixup, table.module)?,
            name: TABLE,
        })?;
        let types = types_of(outline.part(instance).context("it has no module of shims")?)?;
        let first = part.imported_functions().find(|import| import.name == "0");
        let list = first.context("its fix-up is given no functions")?.module;
        let functions = outline.argument(fixup, list)?;
        ensure!(
            outline.part(functions).is_none(),
            "its fix-up is given no list of functions"
        );
        ensure!(
            filled(part, list)? == types.len(),
            "its fix-up does not fill in the table of the shims"
        );
        Ok(Self {
            instance,
            fixup,
            functions,
            types,
            added: Vec::new(),
            places: HashMap::new(),
        })
    }

    /// The place of one that the shim has.
    pub fn named(&self, name: &str) -> Result<u32> {
        let place: u32 = name.parse().with_context(|| format!("a shim is called {name}"))?;
        ensure!((place as usize) < self.types.len(), "there is no shim {name}");
        Ok(place)
    }

    /// The place of one for a function of the component.
    pub fn for_function(&mut self, function: u32, ty: &FuncType) -> u32 {
        *self.places.entry(function).or_insert_with(|| {
            self.added.push(function);
            self.types.push(ty.clone());
            self.types.len() as u32 - 1
        })
    }

    /// The names under which the fix-up gets those that were added, and the component's core functions.
    pub fn added(&self) -> impl Iterator<Item = (String, u32)> {
        let old = self.types.len() - self.added.len();
        self.added
            .iter()
            .enumerate()
            .map(move |(place, function)| ((old + place).to_string(), *function))
    }

    fn type_section(&self) -> Result<TypeSection> {
        let mut section = TypeSection::new();
        for ty in &self.types {
            module::add_type(&mut section, ty)?;
        }
        Ok(section)
    }

    fn table(&self) -> TableType {
        TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: self.types.len() as u64,
            maximum: Some(self.types.len() as u64),
            shared: false,
        }
    }

    pub fn module(&self) -> Result<Module> {
        let (mut functions, mut tables) = (FunctionSection::new(), TableSection::new());
        let (mut exports, mut code) = (ExportSection::new(), CodeSection::new());
        tables.table(self.table());
        for (place, ty) in (0u32..).zip(&self.types) {
            functions.function(place);
            exports.export(&place.to_string(), ExportKind::Func, place);
            let mut function = Function::new([]);
            for parameter in 0..ty.params().len() as u32 {
                function.instruction(&Instruction::LocalGet(parameter));
            }
            function
                .instruction(&Instruction::I32Const(place.cast_signed()))
                .instruction(&Instruction::CallIndirect {
                    type_index: place,
                    table_index: 0,
                })
                .instruction(&Instruction::End);
            code.function(&function);
        }
        exports.export(TABLE, ExportKind::Table, 0);
        let mut module = Module::new();
        module
            .section(&self.type_section()?)
            .section(&functions)
            .section(&tables)
            .section(&exports)
            .section(&code);
        Ok(module)
    }

    /// The new fix-up, which starts a function of the fused module if there is one to be started.
    pub fn fixup_module(&self, start: Option<&str>) -> Result<Module> {
        let (mut types, mut imports) = (self.type_section()?, ImportSection::new());
        let mut elements = ElementSection::new();
        let places: Vec<u32> = (0..self.types.len() as u32).collect();
        for place in &places {
            imports.import(FUNCTIONS, &place.to_string(), EntityType::Function(*place));
        }
        imports.import(SHIM, TABLE, self.table());
        elements.active(None, &ConstExpr::i32_const(0), Elements::Functions(places.into()));
        let mut module = Module::new();
        match start {
            None => module.section(&types).section(&imports),
            Some(start) => {
                let function_index = self.types.len() as u32;
                types.ty().function([], []);
                imports.import(FUSED, start, EntityType::Function(function_index));
                module
                    .section(&types)
                    .section(&imports)
                    .section(&StartSection { function_index })
            }
        };
        module.section(&elements);
        Ok(module)
    }

    pub fn types(&self) -> &[FuncType] {
        &self.types
    }
}

/// The types of the shims in their order, if each does nothing but hand on to the slot of its number.
fn types_of(shim: &Part<'_>) -> Result<Vec<FuncType>> {
    let bare = shim.imports.is_empty() && shim.fillings.is_empty() && shim.start.is_none() && shim.tables.len() == 1;
    ensure!(bare, "its shims are more than that");
    let mut types = Vec::new();
    while let Some((ExternalKind::Func, index)) = shim.exports.get(&*types.len().to_string()) {
        let index = *index as usize;
        let (ty, body) = shim
            .functions
            .get(index)
            .zip(shim.bodies.get(index))
            .context("a shim is no function")?;
        let function = shim.types.get(*ty as usize).context("a shim has no type")?;
        let slot = part::passes_on(body, function.params().len())?.context("a shim does something else")?;
        let same = shim.types.get(slot.ty as usize) == Some(function);
        ensure!(
            same && slot.slot as usize == types.len(),
            "a shim hands on to another place"
        );
        types.push(function.clone());
    }
    ensure!(
        types.len() == shim.functions.len(),
        "its shims have names that are no numbers"
    );
    Ok(types)
}

/// How many slots of the shims' table a fix-up fills in, each with the function of its number from the list.
fn filled(fixup: &Part<'_>, list: &str) -> Result<usize> {
    let tables: Vec<_> = fixup.imported_tables().collect();
    let functions: Vec<_> = fixup.imported_functions().collect();
    let mut next = 0;
    for filling in &fixup.fillings {
        let table = tables.get(filling.table as usize);
        if !table.is_some_and(|table| is_table(table)) {
            continue;
        }
        let offset = Constant::offset(&filling.offset, |_| None)?;
        ensure!(usize::try_from(offset) == Ok(next), "its fix-up leaves out a shim");
        for function in &filling.functions {
            let import = functions
                .get(*function as usize)
                .context("its fix-up has a function of its own")?;
            let right = import.module == list && import.name == next.to_string();
            ensure!(right, "its fix-up puts {} in the place of {next}", import.name);
            next += 1;
        }
    }
    Ok(next)
}

/// Whether a fix-up imports the table of the shims by this.
pub fn is_table(import: &Import<'_>) -> bool {
    import.name == TABLE && matches!(import.ty, TypeRef::Table(_))
}
