//! One core module, read.

use std::collections::HashMap;

use anyhow::{Result, bail};
use wasmparser::{
    CompositeInnerType, Data, Element, ExternalKind, FuncType, FunctionBody, Global, Import, KnownCustom, MemoryType,
    Name, Parser, Payload, TableInit, TableType, TypeRef,
};

#[derive(Default)]
pub struct Part<'a> {
    pub types: Vec<FuncType>,
    pub imports: Vec<Import<'a>>,
    /// The types of the functions that it defines itself; so it is with tables, memories and globals.
    pub functions: Vec<u32>,
    pub tables: Vec<TableType>,
    pub memories: Vec<MemoryType>,
    pub globals: Vec<Global<'a>>,
    pub exports: HashMap<&'a str, (ExternalKind, u32)>,
    pub elements: Vec<Element<'a>>,
    pub bodies: Vec<FunctionBody<'a>>,
    pub data: Vec<Data<'a>>,
    /// What runs when it is instantiated.
    pub start: Option<u32>,
    /// Of functions, also of imported ones.
    pub names: HashMap<u32, &'a str>,
}

impl<'a> Part<'a> {
    pub fn of(bytes: &'a [u8]) -> Result<Self> {
        let mut part = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            part.read(payload?)?;
        }
        Ok(part)
    }

    fn read(&mut self, payload: Payload<'a>) -> Result<()> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section {
                    for ty in group?.into_types() {
                        match ty.composite_type.inner {
                            CompositeInnerType::Func(ty) => self.types.push(ty),
                            _ => bail!("a module has types of garbage collection"),
                        }
                    }
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    self.imports.push(import?);
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    self.functions.push(ty?);
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    let table = table?;
                    match table.init {
                        TableInit::RefNull => self.tables.push(table.ty),
                        TableInit::Expr(_) => bail!("a table starts with something in it"),
                    }
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    self.memories.push(memory?);
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    self.globals.push(global?);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    self.exports.insert(export.name, (export.kind, export.index));
                }
            }
            Payload::ElementSection(section) => {
                for element in section {
                    self.elements.push(element?);
                }
            }
            Payload::CodeSectionEntry(body) => self.bodies.push(body),
            Payload::DataSection(section) => {
                for data in section {
                    self.data.push(data?);
                }
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    for name in names {
                        if let Name::Function(functions) = name? {
                            for naming in functions {
                                let naming = naming?;
                                self.names.insert(naming.index, naming.name);
                            }
                        }
                    }
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::TagSection(_) => bail!("a module has exceptions"),
            _ => {}
        }
        Ok(())
    }

    /// How many functions are imported; those that the module defines come after them.
    pub fn imported_functions(&self) -> usize {
        let functions = self
            .imports
            .iter()
            .filter(|import| matches!(import.ty, TypeRef::Func(_)));
        functions.count()
    }
}
