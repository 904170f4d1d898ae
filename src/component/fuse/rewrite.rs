//! The component around the modules: the same one, less what was there to link them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use anyhow::{Context, Result, anyhow};
use wasm_encoder::reencode::{Error, Reencode, ReencodeComponent, component_utils};
use wasm_encoder::{
    Alias, CanonicalFunctionSection, Component, ComponentAliasSection, ExportKind, InstanceSection, Module, ModuleArg,
    ModuleSection, RawSection,
};
use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentAliasSectionReader, CustomSectionReader, ExternalKind, Instance,
    InstanceSectionReader, Payload,
};

use super::outline::{CoreInstance, Exported, Function, Outline, sections};
use super::shim::{self, Shim};
use super::whole::Whole;

type Result_<T> = Result<T, Error<anyhow::Error>>;

const MODULE_SECTION: u8 = 1;
const COMPONENT_SECTION: u8 = 4;

/// The core items that the component itself refers to, by their numbers there.
#[derive(Default)]
pub struct Uses<'a> {
    functions: BTreeSet<u32>,
    tables: BTreeSet<u32>,
    memories: BTreeSet<u32>,
    /// What of this the fused module has to export.
    exports: Vec<Exported<'a>>,
}

impl<'a> Uses<'a> {
    pub fn of(bytes: &[u8], outline: &Outline<'a>, shim: &Shim) -> Result<Self> {
        let mut search = Search(Self::default());
        go_through(&mut search, bytes)?;
        let mut uses = search.0;
        if let CoreInstance::Bag(items) = &outline.instances[shim.functions as usize] {
            let functions = items.iter().filter(|item| item.kind == ExternalKind::Func);
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

    fn function_index(&mut self, index: u32) -> Result_<u32> {
        self.0.functions.insert(index);
        Ok(index)
    }

    fn table_index(&mut self, index: u32) -> Result_<u32> {
        self.0.tables.insert(index);
        Ok(index)
    }

    fn memory_index(&mut self, index: u32) -> Result_<u32> {
        self.0.memories.insert(index);
        Ok(index)
    }
}

impl ReencodeComponent for Search<'_> {
    fn parse_component_payload(&mut self, component: &mut Component, payload: Payload<'_>, all: &[u8]) -> Result_<()> {
        match payload {
            Payload::InstanceSection(_)
            | Payload::ModuleSection { .. }
            | Payload::ComponentSection { .. }
            | Payload::CustomSection(_) => Ok(()),
            payload => component_utils::parse_component_payload(self, component, payload, all),
        }
    }
}

pub fn rewrite(
    bytes: &[u8],
    outline: &Outline<'_>,
    shim: &Shim,
    uses: &Uses<'_>,
    whole: &Whole<'_>,
    module: &Module,
) -> Result<Vec<u8>> {
    let mut rewriting = Rewriting {
        outline,
        shim,
        uses,
        whole,
        module,
        fused: None,
        modules: Numbering::default(),
        instances: Numbering::default(),
        functions: Numbering::default(),
        tables: Numbering::default(),
        memories: Numbering::default(),
    };
    Ok(go_through(&mut rewriting, bytes)?.finish())
}

/// The component with other components in it, as far as there are others for them; None if there are none.
pub fn within(bytes: &[u8], change: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut changing = Changing { change, changed: false };
    let component = go_through(&mut changing, bytes).ok()?;
    changing.changed.then(|| component.finish())
}

/// Copies a component, but for those in it.
struct Changing<F> {
    change: F,
    changed: bool,
}

impl<F> Reencode for Changing<F> {
    type Error = anyhow::Error;
}

impl<F: Fn(&[u8]) -> Option<Vec<u8>>> ReencodeComponent for Changing<F> {
    fn parse_component_payload(&mut self, component: &mut Component, payload: Payload<'_>, all: &[u8]) -> Result_<()> {
        if let Some((id, range)) = payload.as_section() {
            let old = &all[range];
            let new = if id == COMPONENT_SECTION {
                (self.change)(old)
            } else {
                None
            };
            self.changed |= new.is_some();
            let data = new.as_deref().unwrap_or(old);
            component.section(&RawSection { id, data });
        }
        Ok(())
    }
}

/// What somebody who looks at each section makes of a component.
fn go_through(who: &mut impl ReencodeComponent<Error = anyhow::Error>, bytes: &[u8]) -> Result<Component> {
    let mut component = Component::new();
    for section in sections(bytes)? {
        who.parse_component_payload(&mut component, section, bytes)
            .map_err(into_anyhow)?;
    }
    Ok(component)
}

fn into_anyhow(error: Error<anyhow::Error>) -> anyhow::Error {
    match error {
        Error::UserError(error) => error,
        other => anyhow!("{other}"),
    }
}

/// Old numbers to new ones, as far as the component has been gone through.
#[derive(Default)]
struct Numbering {
    new: Vec<Option<u32>>,
    kept: u32,
}

impl Numbering {
    /// The number of what comes next, if it stays.
    fn next(&mut self, stays: bool) {
        self.new.push(stays.then_some(self.kept));
        self.kept += u32::from(stays);
    }

    /// The old number of what comes next.
    fn old(&self) -> u32 {
        self.new.len() as u32
    }

    fn get(&self, what: &str, old: u32) -> Result_<u32> {
        let new = self.new.get(old as usize).copied().flatten();
        new.ok_or_else(|| Error::UserError(anyhow!("{what} {old} is used, and not there")))
    }
}

struct Rewriting<'r, 'a> {
    outline: &'r Outline<'a>,
    shim: &'r Shim,
    uses: &'r Uses<'a>,
    whole: &'r Whole<'a>,
    module: &'r Module,
    /// The new number of the instance of the fused module, once it is there.
    fused: Option<u32>,
    modules: Numbering,
    instances: Numbering,
    functions: Numbering,
    tables: Numbering,
    memories: Numbering,
}

enum Place {
    Shim,
    Fixup,
    /// The first of those that are fused stands for all of them.
    Fused {
        first: bool,
    },
}

impl Rewriting<'_, '_> {
    /// What becomes of an instance of a module.
    fn place(&self, instance: u32) -> Option<Place> {
        let fused = |instance: u32| {
            self.outline.part(instance).is_some() && instance != self.shim.instance && instance != self.shim.fixup
        };
        if instance == self.shim.instance {
            Some(Place::Shim)
        } else if instance == self.shim.fixup {
            Some(Place::Fixup)
        } else {
            fused(instance).then(|| Place::Fused {
                first: !(0..instance).any(fused),
            })
        }
    }

    fn module(&mut self, component: &mut Component, bytes: &[u8]) -> Result<()> {
        let old = self.modules.old();
        let mut instances = (0..).zip(&self.outline.instances);
        let instance = instances
            .find(|(_, instance)| matches!(instance, CoreInstance::Of { module, .. } if *module == old))
            .and_then(|(instance, _)| self.place(instance));
        let module = match instance {
            Some(Place::Shim) => Some(Cow::Owned(self.shim.module()?)),
            Some(Place::Fixup) => Some(Cow::Owned(
                self.shim.fixup_module(self.whole.started_last().as_deref())?,
            )),
            Some(Place::Fused { first: true }) => Some(Cow::Borrowed(self.module)),
            Some(Place::Fused { first: false }) => None,
            None => {
                component.section(&RawSection {
                    id: MODULE_SECTION,
                    data: bytes,
                });
                self.modules.next(true);
                return Ok(());
            }
        };
        self.modules.next(module.is_some());
        if let Some(module) = module {
            component.section(&ModuleSection(&module));
        }
        Ok(())
    }

    fn instances(&mut self, section: InstanceSectionReader<'_>) -> Result_<InstanceSection> {
        let mut instances = InstanceSection::new();
        for instance in section {
            let old = self.instances.old();
            let instance = instance?;
            match (self.place(old), instance) {
                (Some(Place::Fused { first: false }), _) => self.instances.next(false),
                (Some(Place::Fused { first: true }), Instance::Instantiate { module_index, .. }) => {
                    self.fused = Some(self.instances.kept);
                    self.instances.next(true);
                    let shim = self.instances.get("core instance", self.shim.instance)?;
                    let module = self.module_index(module_index);
                    instances.instantiate(module, [(shim::SHIM, ModuleArg::Instance(shim))]);
                }
                (None, Instance::FromExports(items)) if old == self.shim.functions => {
                    let old = items.iter().filter(|item| item.kind == ExternalKind::Func);
                    let old = old.map(|item| (item.name.to_owned(), item.index));
                    let mut given = Vec::new();
                    for (name, function) in old.chain(self.shim.added()) {
                        given.push((name, self.function_index(function)?));
                    }
                    self.instances.next(true);
                    instances.export_items(given.iter().map(|(name, index)| (&**name, ExportKind::Func, *index)));
                }
                (Some(Place::Fixup), Instance::Instantiate { module_index, .. }) => {
                    self.instances.next(true);
                    let functions = self.instances.get("core instance", self.shim.functions)?;
                    let shim = self.instances.get("core instance", self.shim.instance)?;
                    let mut arguments = vec![
                        (shim::FUNCTIONS, ModuleArg::Instance(functions)),
                        (shim::SHIM, ModuleArg::Instance(shim)),
                    ];
                    if let (Some(_), Some(fused)) = (self.whole.started_last(), self.fused) {
                        arguments.push((shim::FUSED, ModuleArg::Instance(fused)));
                    }
                    instances.instantiate(self.module_index(module_index), arguments);
                }
                (None, _) => self.instances.next(false),
                (Some(_), instance) => {
                    self.instances.next(true);
                    self.parse_instance(&mut instances, instance)?;
                }
            }
        }
        Ok(instances)
    }

    fn aliases(&mut self, section: ComponentAliasSectionReader<'_>) -> Result_<ComponentAliasSection> {
        let mut aliases = ComponentAliasSection::new();
        for alias in section {
            let ComponentAlias::CoreInstanceExport {
                kind,
                instance_index: instance,
                name,
            } = alias.clone()?
            else {
                aliases.alias(self.component_alias(alias?)?);
                continue;
            };
            let (numbering, used) = match kind {
                ExternalKind::Func => (&mut self.functions, &self.uses.functions),
                ExternalKind::Table => (&mut self.tables, &self.uses.tables),
                ExternalKind::Memory => (&mut self.memories, &self.uses.memories),
                // Only what is fused uses globals.
                _ => continue,
            };
            let used = used.contains(&numbering.old());
            numbering.next(used);
            if used {
                let exported = Exported { instance, name };
                let (instance, name) = self.exported(exported).map_err(Error::UserError)?;
                aliases.alias(Alias::CoreInstanceExport {
                    instance,
                    kind: self.export_kind(kind)?,
                    name: &name,
                });
            }
        }
        Ok(aliases)
    }

    /// Where something is that an instance exported.
    fn exported(&mut self, exported: Exported<'_>) -> Result<(u32, String)> {
        let Exported { instance, name } = exported;
        match self.place(instance) {
            Some(Place::Fused { .. }) => Ok((
                self.fused.context("a module is used before it is there")?,
                self.whole
                    .export(exported)
                    .with_context(|| format!("{name} of core instance {instance} is gone"))?,
            )),
            _ => Ok((
                self.instances.get("core instance", instance).map_err(into_anyhow)?,
                name.to_owned(),
            )),
        }
    }
}

impl Reencode for Rewriting<'_, '_> {
    type Error = anyhow::Error;

    fn function_index(&mut self, index: u32) -> Result_<u32> {
        self.functions.get("core function", index)
    }

    fn table_index(&mut self, index: u32) -> Result_<u32> {
        self.tables.get("table", index)
    }

    fn memory_index(&mut self, index: u32) -> Result_<u32> {
        self.memories.get("memory", index)
    }
}

impl ReencodeComponent for Rewriting<'_, '_> {
    fn module_index(&mut self, index: u32) -> u32 {
        self.modules
            .new
            .get(index as usize)
            .copied()
            .flatten()
            .unwrap_or(u32::MAX)
    }

    fn instance_index(&mut self, index: u32) -> u32 {
        self.instances
            .new
            .get(index as usize)
            .copied()
            .flatten()
            .unwrap_or(u32::MAX)
    }

    fn parse_component_payload(&mut self, component: &mut Component, payload: Payload<'_>, all: &[u8]) -> Result_<()> {
        match payload {
            Payload::ModuleSection { unchecked_range, .. } => {
                self.module(component, &all[unchecked_range])
                    .map_err(Error::UserError)?;
            }
            // It has numbers of its own.
            Payload::ComponentSection { unchecked_range, .. } => {
                component.section(&RawSection {
                    id: COMPONENT_SECTION,
                    data: &all[unchecked_range],
                });
            }
            Payload::InstanceSection(section) => {
                let instances = self.instances(section)?;
                if !instances.is_empty() {
                    component.section(&instances);
                }
            }
            Payload::ComponentAliasSection(section) => {
                let aliases = self.aliases(section)?;
                if !aliases.is_empty() {
                    component.section(&aliases);
                }
            }
            payload => component_utils::parse_component_payload(self, component, payload, all)?,
        }
        Ok(())
    }

    fn parse_component_canonical(
        &mut self,
        section: &mut CanonicalFunctionSection,
        function: CanonicalFunction,
    ) -> Result_<()> {
        if !matches!(function, CanonicalFunction::Lift { .. }) {
            self.functions.next(true);
        }
        component_utils::parse_component_canonical(self, section, function)
    }

    /// The names of core items, which have other numbers now, are only there for people.
    fn parse_component_custom_section(
        &mut self,
        component: &mut Component,
        section: CustomSectionReader<'_>,
    ) -> Result_<()> {
        if section.name() != "component-name" {
            component.section(&self.custom_section(section)?);
        }
        Ok(())
    }
}
