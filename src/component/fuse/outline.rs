//! A component's core modules and instances, and where each of its core items comes from.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind, ComponentTypeRef, Export,
    ExternalKind, Instance, Payload,
};

use crate::component::part::Part;
use crate::component::sections::sections;

/// An export of a core instance.
#[derive(Clone, Copy)]
pub struct Exported<'a> {
    pub instance: u32,
    pub name: &'a str,
}

/// Where a core function comes from.
pub enum Function<'a> {
    Exported(Exported<'a>),
    /// Made by the component: of what it imports, or to drop a resource.
    Made,
}

pub enum CoreInstance<'a> {
    Of {
        module: u32,
        /// Instances by the names that the module imports from.
        arguments: HashMap<&'a str, u32>,
    },
    /// A bag of items of the component.
    Bag(HashMap<&'a str, Export<'a>>),
}

#[derive(Default)]
pub struct Outline<'a> {
    pub modules: Vec<Part<'a>>,
    pub instances: Vec<CoreInstance<'a>>,
    pub functions: Vec<Function<'a>>,
    pub tables: Vec<Exported<'a>>,
    pub memories: Vec<Exported<'a>>,
    pub globals: Vec<Exported<'a>>,
}

impl<'a> Outline<'a> {
    pub fn of(bytes: &'a [u8]) -> Result<Self> {
        let mut outline = Self::default();
        for payload in sections(bytes)? {
            match payload {
                Payload::ModuleSection { unchecked_range, .. } => {
                    outline.modules.push(Part::of(&bytes[unchecked_range])?);
                }
                payload => outline.read(payload)?,
            }
        }
        Ok(outline)
    }

    fn read(&mut self, payload: Payload<'a>) -> Result<()> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section {
                    self.instances.push(match instance? {
                        Instance::Instantiate { module_index, args } => CoreInstance::Of {
                            module: module_index,
                            arguments: args.iter().map(|argument| (argument.name, argument.index)).collect(),
                        },
                        Instance::FromExports(items) => {
                            CoreInstance::Bag(items.iter().map(|item| (item.name, *item)).collect())
                        }
                    });
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    self.alias(&alias?)?;
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    if !matches!(function?, CanonicalFunction::Lift { .. }) {
                        self.functions.push(Function::Made);
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    ensure!(
                        !matches!(import?.ty, ComponentTypeRef::Module(_)),
                        "it imports a core module"
                    );
                }
            }
            Payload::CoreTypeSection(_) => bail!("it has core types of its own"),
            _ => {}
        }
        Ok(())
    }

    fn alias(&mut self, alias: &ComponentAlias<'a>) -> Result<()> {
        match *alias {
            ComponentAlias::CoreInstanceExport {
                kind,
                instance_index: instance,
                name,
            } => {
                let exported = Exported { instance, name };
                match kind {
                    ExternalKind::Func => self.functions.push(Function::Exported(exported)),
                    ExternalKind::Table => self.tables.push(exported),
                    ExternalKind::Memory => self.memories.push(exported),
                    ExternalKind::Global => self.globals.push(exported),
                    kind => bail!("{name} is a {kind:?}"),
                }
            }
            ComponentAlias::InstanceExport {
                kind: ComponentExternalKind::Module,
                ..
            }
            | ComponentAlias::Outer {
                kind: ComponentOuterAliasKind::CoreModule | ComponentOuterAliasKind::CoreType,
                ..
            } => bail!("it has a core module or type of another component"),
            _ => {}
        }
        Ok(())
    }

    /// The module of an instance, unless it is a bag.
    pub fn part(&self, instance: u32) -> Option<&Part<'a>> {
        match self.instances.get(instance as usize)? {
            CoreInstance::Of { module, .. } => self.modules.get(*module as usize),
            CoreInstance::Bag(_) => None,
        }
    }

    /// What an instance is given under a name.
    pub fn argument(&self, instance: u32, name: &str) -> Result<u32> {
        match self.instances.get(instance as usize) {
            Some(CoreInstance::Of { arguments, .. }) => arguments
                .get(name)
                .copied()
                .with_context(|| format!("core instance {instance} is given no {name}")),
            _ => bail!("core instance {instance} is none of a module"),
        }
    }

    /// What a bag has under a name.
    pub fn item(&self, instance: u32, name: &str) -> Result<&Export<'a>> {
        let Some(CoreInstance::Bag(items)) = self.instances.get(instance as usize) else {
            bail!("core instance {instance} is missing");
        };
        items.get(name).with_context(|| format!("there is no {name}"))
    }

    /// The instance of a module that exports a table, seen through bags.
    pub fn origin(&self, exported: Exported<'_>) -> Result<u32> {
        let Exported { mut instance, mut name } = exported;
        while self.part(instance).is_none() {
            let item = self.item(instance, name)?;
            ensure!(item.kind == ExternalKind::Table, "{name} is no table");
            Exported { instance, name } = *self.tables.get(item.index as usize).context("a table is missing")?;
        }
        Ok(instance)
    }

    /// Each module that is instantiated, is so once.
    pub fn check(&self) -> Result<()> {
        let mut seen = vec![false; self.modules.len()];
        for instance in &self.instances {
            if let CoreInstance::Of { module, .. } = instance {
                let seen = seen.get_mut(*module as usize).context("an instance has no module")?;
                ensure!(!*seen, "a module is instantiated twice");
                *seen = true;
            }
        }
        Ok(())
    }
}
