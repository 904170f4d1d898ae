//! Everything that the modules have, put together: who imports something has from here on what it is.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail, ensure};
use wasmparser::{DataKind, ExternalKind, FuncType, FunctionBody, GlobalType, Import, MemoryType, TableType, TypeRef};

use super::constant::Constant;
use super::numbers::{Function, Item, Numbers, Types};
use super::outline::{Exported, Function as Origin, Outline};
use super::shim::{self, Shim};
use super::uses::Uses;
use crate::component::part::Part;

/// A function that one of the parts defines.
pub struct Own<'a> {
    /// The core instance whose part it was in.
    pub instance: u32,
    pub ty: u32,
    pub body: FunctionBody<'a>,
    pub name: Option<&'a str>,
}

pub struct Global {
    pub ty: GlobalType,
    pub value: Constant,
}

/// Functions in a table, from an offset on.
pub struct Segment {
    pub table: u32,
    pub offset: u32,
    pub functions: Vec<Function>,
}

pub struct Data<'a> {
    /// The memory and the offset there, unless code copies it.
    pub place: Option<(u32, i32)>,
    pub bytes: &'a [u8],
}

#[derive(Default)]
pub struct Whole<'a> {
    pub types: Types,
    /// By core instance.
    pub numbers: HashMap<u32, Numbers>,
    pub own: Vec<Own<'a>>,
    pub tables: Vec<TableType>,
    pub memories: Vec<MemoryType>,
    pub globals: Vec<Global>,
    pub segments: Vec<Segment>,
    pub data: Vec<Data<'a>>,
    /// The types of the shims, which are what the whole can import.
    pub shims: Vec<FuncType>,
    /// What runs when it is instantiated.
    pub start: Option<Function>,
    /// What the fix-up starts, once all else is there.
    started_last: Option<Exported<'a>>,
    /// What others need of it: an instance and a name there, and what it is here.
    pub exports: BTreeMap<(u32, &'a str), Item>,
    /// How many instances have an export of a name among these.
    names: HashMap<&'a str, u32>,
}

impl<'a> Whole<'a> {
    pub fn of(outline: &Outline<'a>, shim: &mut Shim, uses: &Uses<'a>) -> Result<Self> {
        let mut whole = Self::default();
        for instance in 0..outline.instances.len() as u32 {
            if let Some(part) = outline.part(instance)
                && instance != shim.instance
                && instance != shim.fixup
            {
                whole.add(outline, shim, instance, part)?;
            }
        }
        ensure!(whole.numbers.len() > 1, "there are no modules to be fused");
        for exported in uses.exports() {
            let item = whole.find(outline, shim, exported, None)?;
            whole.add_export(exported, item)?;
        }
        whole.add_fixup(outline, shim)?;
        whole.shims = shim.types().to_vec();
        Ok(whole)
    }

    fn add(&mut self, outline: &Outline<'a>, shim: &mut Shim, instance: u32, part: &Part<'a>) -> Result<()> {
        let mut numbers = Numbers::default();
        for ty in &part.types {
            numbers.types.push(self.types.add(ty));
        }
        for import in &part.imports {
            numbers.add(self.import(outline, shim, instance, part, import)?);
        }
        self.add_functions(instance, part, &mut numbers);
        for table in &part.tables {
            numbers.tables.push(self.tables.len() as u32);
            self.tables.push(*table);
        }
        for memory in &part.memories {
            numbers.memories.push(self.memories.len() as u32);
            self.memories.push(*memory);
        }
        for global in &part.globals {
            let value = Constant::of(&global.init_expr, |index| self.value(&numbers, index))?;
            numbers.globals.push(self.globals.len() as u32);
            self.globals.push(Global { ty: global.ty, value });
        }
        self.add_fillings(part, &numbers)?;
        self.add_data(part, &mut numbers)?;
        if let Some(start) = part.start {
            // In which order they would have to run is not known here.
            ensure!(
                self.start.is_none(),
                "several modules have a function that starts by itself"
            );
            let start = numbers.functions.get(start as usize);
            self.start = Some(*start.context("the function that starts is missing")?);
        }
        self.numbers.insert(instance, numbers);
        Ok(())
    }

    fn add_functions(&mut self, instance: u32, part: &Part<'a>, numbers: &mut Numbers) {
        let imported = part.imported_functions().count() as u32;
        for (index, (ty, body)) in (imported..).zip(part.functions.iter().zip(&part.bodies)) {
            numbers.functions.push(Function::Own(self.own.len() as u32));
            self.own.push(Own {
                instance,
                ty: numbers.types[*ty as usize],
                body: body.clone(),
                name: part.names.get(&index).copied(),
            });
        }
    }

    /// What a global of a part starts with.
    fn value(&self, numbers: &Numbers, global: u32) -> Option<Constant> {
        let global = *numbers.globals.get(global as usize)?;
        Some(self.globals.get(global as usize)?.value)
    }

    fn add_fillings(&mut self, part: &Part<'a>, numbers: &Numbers) -> Result<()> {
        for filling in &part.fillings {
            let offset = Constant::offset(&filling.offset, |index| self.value(numbers, index))?;
            let functions = filling.functions.iter().map(|function| {
                let function = numbers.functions.get(*function as usize);
                function.copied().context("a function in a table is missing")
            });
            let table = numbers.tables.get(filling.table as usize);
            self.segments.push(Segment {
                table: *table.context("a table that is filled in is missing")?,
                offset: offset.cast_unsigned(),
                functions: functions.collect::<Result<_>>()?,
            });
        }
        Ok(())
    }

    fn add_data(&mut self, part: &Part<'a>, numbers: &mut Numbers) -> Result<()> {
        for data in &part.data {
            let place = match &data.kind {
                DataKind::Passive => None,
                DataKind::Active {
                    memory_index,
                    offset_expr,
                } => {
                    let memory = numbers.memories.get(*memory_index as usize);
                    let offset = Constant::offset(offset_expr, |index| self.value(numbers, index))?;
                    // It would come before what starts now.
                    ensure!(
                        self.start.is_none(),
                        "a module has data that come after another one's start"
                    );
                    Some((*memory.context("a memory that has data is missing")?, offset))
                }
            };
            numbers.data.push(self.data.len() as u32);
            self.data.push(Data {
                place,
                bytes: data.data,
            });
        }
        Ok(())
    }

    /// What the fix-up does for others than the shims: it puts functions into tables, and starts one.
    fn add_fixup(&mut self, outline: &Outline<'a>, shim: &mut Shim) -> Result<()> {
        let part = outline.part(shim.fixup).context("there is no fix-up")?;
        let passive = part.data.iter().all(|data| matches!(data.kind, DataKind::Passive));
        ensure!(passive, "its fix-up has data");
        let tables: Vec<_> = part.imported_tables().collect();
        let functions: Vec<_> = part.imported_functions().collect();
        for filling in &part.fillings {
            let table = tables.get(filling.table as usize).context("a table is missing")?;
            // Shim::of has looked at what it puts there.
            if shim::is_table(table) {
                continue;
            }
            let Item::Table(table) = self.import(outline, shim, shim.fixup, part, table)? else {
                bail!("a table is none");
            };
            let mut segment = Segment {
                table,
                offset: Constant::offset(&filling.offset, |_| None)?.cast_unsigned(),
                functions: Vec::new(),
            };
            for function in &filling.functions {
                let import = functions
                    .get(*function as usize)
                    .context("a function of the fix-up is its own")?;
                match self.import(outline, shim, shim.fixup, part, import)? {
                    Item::Function(function) => segment.functions.push(function),
                    _ => bail!("{} is no function", import.name),
                }
            }
            self.segments.push(segment);
        }
        if let Some(start) = part.start {
            let import = functions
                .get(start as usize)
                .context("its fix-up starts a function of its own")?;
            let item = self.import(outline, shim, shim.fixup, part, import)?;
            let exported = Exported {
                instance: shim.fixup,
                name: import.name,
            };
            self.add_export(exported, item)?;
            self.started_last = Some(exported);
        }
        Ok(())
    }

    fn add_export(&mut self, exported: Exported<'a>, item: Item) -> Result<()> {
        ensure!(!matches!(item, Item::Global(_)), "{} is a global", exported.name);
        *self.names.entry(exported.name).or_default() += 1;
        self.exports.insert((exported.instance, exported.name), item);
        Ok(())
    }

    fn import(
        &self,
        outline: &Outline<'a>,
        shim: &mut Shim,
        instance: u32,
        part: &Part<'a>,
        import: &Import<'_>,
    ) -> Result<Item> {
        let ty = match import.ty {
            TypeRef::Func(ty) => part.types.get(ty as usize),
            _ => None,
        };
        let exported = Exported {
            instance: outline.argument(instance, import.module)?,
            name: import.name,
        };
        self.find(outline, shim, exported, ty)
            .with_context(|| format!("core instance {instance}, import {} of {}", import.name, import.module))
    }

    /// What an instance exports. The type is that of who imports it, for what no module has.
    fn find(
        &self,
        outline: &Outline<'a>,
        shim: &mut Shim,
        exported: Exported<'_>,
        ty: Option<&FuncType>,
    ) -> Result<Item> {
        let Exported { mut instance, mut name } = exported;
        loop {
            if instance == shim.instance {
                return Ok(Item::Function(Function::Imported(shim.named(name)?)));
            }
            if let Some(part) = outline.part(instance) {
                let (kind, index) = part.exports.get(name).with_context(|| format!("there is no {name}"))?;
                let numbers = self
                    .numbers
                    .get(&instance)
                    .context("a module is used before it is there")?;
                return numbers
                    .get(*kind, *index)
                    .with_context(|| format!("{name} is of an unknown kind"));
            }
            let item = outline.item(instance, name)?;
            let index = item.index as usize;
            let exported = match item.kind {
                ExternalKind::Func => match outline.functions.get(index).context("a function is missing")? {
                    Origin::Exported(exported) => Some(exported),
                    Origin::Made => {
                        let ty = ty.with_context(|| format!("{name} has no type"))?;
                        return Ok(Item::Function(Function::Imported(shim.for_function(item.index, ty))));
                    }
                },
                ExternalKind::Table => outline.tables.get(index),
                ExternalKind::Memory => outline.memories.get(index),
                ExternalKind::Global => outline.globals.get(index),
                _ => None,
            };
            Exported { instance, name } = *exported.with_context(|| format!("{name} is of an unknown kind"))?;
        }
    }

    /// The name under which the fused module has what an instance exported: the old one, with the instance where others
    /// have it too.
    pub fn export(&self, exported: Exported<'_>) -> Option<String> {
        let Exported { instance, name } = exported;
        match self.names.get(name)? {
            1 => Some(name.to_owned()),
            _ => Some(format!("{name} of {instance}")),
        }
    }

    /// The name of what the fix-up has to start.
    pub fn started_last(&self) -> Option<String> {
        self.export(self.started_last?)
    }

    pub fn type_of(&self, function: Function) -> Option<&FuncType> {
        match function {
            Function::Imported(place) => self.shims.get(place as usize),
            Function::Own(place) => self.types.all.get(self.own.get(place as usize)?.ty as usize),
        }
    }
}
