//! The component around the modules: the same one, less what was there to link them.

use std::borrow::Cow;
use std::collections::HashMap;

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

use super::outline::{CoreInstance, Exported, Outline};
use super::shim::{self, Shim};
use super::uses::Uses;
use super::whole::Whole;
use crate::component::sections::{COMPONENT_SECTION, MODULE_SECTION, Read, go_through, into_anyhow};

/// The whole component, where the fused module takes the place of the first of those that it was made of.
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
        places: places(outline, shim),
        fused: None,
        modules: Numbering::default(),
        instances: Numbering::default(),
        functions: Numbering::default(),
        tables: Numbering::default(),
        memories: Numbering::default(),
    };
    Ok(go_through(&mut rewriting, bytes)?.finish())
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

    fn find(&self, old: u32) -> Option<u32> {
        self.new.get(old as usize).copied().flatten()
    }

    fn get(&self, what: &str, old: u32) -> Read<u32> {
        self.find(old)
            .ok_or_else(|| Error::UserError(anyhow!("{what} {old} is used, and not there")))
    }
}

struct Rewriting<'r, 'a> {
    outline: &'r Outline<'a>,
    shim: &'r Shim,
    uses: &'r Uses<'a>,
    whole: &'r Whole<'a>,
    module: &'r Module,
    /// What becomes of each module.
    places: HashMap<u32, Place>,
    /// The new number of the instance of the fused module, once it is there.
    fused: Option<u32>,
    modules: Numbering,
    instances: Numbering,
    functions: Numbering,
    tables: Numbering,
    memories: Numbering,
}

#[derive(Clone, Copy)]
enum Place {
    Shim,
    Fixup,
    /// The first of those that are fused stands for all of them.
    Fused {
        first: bool,
    },
}

/// What becomes of each module that is instantiated.
fn places(outline: &Outline<'_>, shim: &Shim) -> HashMap<u32, Place> {
    let mut places = HashMap::new();
    let mut first = true;
    for (instance, of) in (0..).zip(&outline.instances) {
        let CoreInstance::Of { module, .. } = of else { continue };
        let place = if instance == shim.instance {
            Place::Shim
        } else if instance == shim.fixup {
            Place::Fixup
        } else {
            Place::Fused {
                first: std::mem::take(&mut first),
            }
        };
        places.insert(*module, place);
    }
    places
}

impl Rewriting<'_, '_> {
    /// What becomes of an instance, unless it is a bag.
    fn place(&self, instance: u32) -> Option<Place> {
        match self.outline.instances.get(instance as usize)? {
            CoreInstance::Of { module, .. } => self.places.get(module).copied(),
            CoreInstance::Bag(_) => None,
        }
    }

    fn module(&mut self, component: &mut Component, bytes: &[u8]) -> Result<()> {
        let module = match self.places.get(&self.modules.old()) {
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

    fn instances(&mut self, section: InstanceSectionReader<'_>) -> Read<InstanceSection> {
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

    fn aliases(&mut self, section: ComponentAliasSectionReader<'_>) -> Read<ComponentAliasSection> {
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

    fn function_index(&mut self, index: u32) -> Read<u32> {
        self.functions.get("core function", index)
    }

    fn table_index(&mut self, index: u32) -> Read<u32> {
        self.tables.get("table", index)
    }

    fn memory_index(&mut self, index: u32) -> Read<u32> {
        self.memories.get("memory", index)
    }
}

impl ReencodeComponent for Rewriting<'_, '_> {
    fn module_index(&mut self, index: u32) -> u32 {
        self.modules.find(index).unwrap_or(u32::MAX)
    }

    fn instance_index(&mut self, index: u32) -> u32 {
        self.instances.find(index).unwrap_or(u32::MAX)
    }

    fn parse_component_payload(&mut self, component: &mut Component, payload: Payload<'_>, all: &[u8]) -> Read<()> {
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
    ) -> Read<()> {
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
    ) -> Read<()> {
        if section.name() != "component-name" {
            component.section(&self.custom_section(section)?);
        }
        Ok(())
    }
}
