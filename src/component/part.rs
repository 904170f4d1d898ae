//! One core module, read.

use std::collections::HashMap;

use anyhow::{Result, bail};
use wasmparser::{
    CompositeInnerType, ConstExpr, Data, Element, ElementItems, ElementKind, ExternalKind, FuncType, FunctionBody,
    Global, Import, KnownCustom, MemoryType, Name, Operator, Parser, Payload, TableInit, TableType, TypeRef,
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
    pub fillings: Vec<Filling<'a>>,
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
                    self.fillings.extend(Filling::of(element?)?);
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

    /// The imports that are functions; those that the module defines have the numbers after them.
    pub fn imported_functions(&self) -> impl Iterator<Item = &Import<'a>> {
        self.imports
            .iter()
            .filter(|import| matches!(import.ty, TypeRef::Func(_)))
    }

    pub fn imported_tables(&self) -> impl Iterator<Item = &Import<'a>> {
        self.imports
            .iter()
            .filter(|import| matches!(import.ty, TypeRef::Table(_)))
    }
}

/// Functions that are put into a table when the module is instantiated.
pub struct Filling<'a> {
    pub table: u32,
    pub offset: ConstExpr<'a>,
    pub functions: Vec<u32>,
}

impl<'a> Filling<'a> {
    /// None for functions that are only declared.
    fn of(element: Element<'a>) -> Result<Option<Self>> {
        let (table, offset) = match element.kind {
            ElementKind::Active {
                table_index,
                offset_expr,
            } => (table_index.unwrap_or(0), offset_expr),
            ElementKind::Declared => return Ok(None),
            ElementKind::Passive => bail!("a module fills its table in by itself"),
        };
        let ElementItems::Functions(items) = element.items else {
            bail!("a table has other things than functions");
        };
        let functions = items.into_iter().collect::<Result<_, _>>()?;
        Ok(Some(Self {
            table,
            offset,
            functions,
        }))
    }
}

/// A slot of a table, and the type of the function there: what a function is for that does nothing but hand its parameters on.
#[derive(Debug, Eq, PartialEq)]
pub struct Slot {
    pub ty: u32,
    pub table: u32,
    pub slot: u32,
}

/// Where a function with so many parameters hands them on to, if that is all that it does.
pub fn passes_on(body: &FunctionBody<'_>, parameters: usize) -> Result<Option<Slot>> {
    let mut operators = body.get_operators_reader()?;
    for parameter in 0..parameters as u32 {
        if !matches!(operators.read()?, Operator::LocalGet { local_index } if local_index == parameter) {
            return Ok(None);
        }
    }
    let Operator::I32Const { value } = operators.read()? else {
        return Ok(None);
    };
    let Operator::CallIndirect {
        type_index,
        table_index,
    } = operators.read()?
    else {
        return Ok(None);
    };
    let last = matches!(operators.read()?, Operator::End) && operators.eof();
    Ok(last.then_some(Slot {
        ty: type_index,
        table: table_index,
        slot: value.cast_unsigned(),
    }))
}

/// Whether an operator changes a table, or what one can be filled in with.
pub fn changes_tables(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::TableSet { .. }
            | Operator::TableGrow { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
            | Operator::ElemDrop { .. }
    )
}
