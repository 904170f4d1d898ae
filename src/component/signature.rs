//! The types of what an app exports, compared with the contract before anything is run.

use std::fmt::{self, Write};

use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem};
use wasmtime::component::{Component, ResourceType, Type};

use super::world::misfit;
use crate::fault::{Fault, Result};

/// The functions of the interface `application`, as WIT would write them without names of types and parameters.
const FUNCTIONS: &[(&str, &str)] = &[
    (
        "call",
        "func(record { vars: list<tuple<string, string>>, input: variant { bytes(list<u8>), reader(input) } }) -> \
         result<record { status: u16, reason: string, headers: list<tuple<string, string>>, \
         body: variant { bytes(list<u8>), chunks(chunks) } }, \
         variant { exception(string), timeout, resource-limit(string), unavailable(string) }>",
    ),
    (
        "[method]chunks.next",
        "func(borrow<chunks>) -> result<option<list<u8>>, string>",
    ),
    ("[method]chunks.close", "func(borrow<chunks>)"),
];

/// A type of a hostile component may be written out to any length.
const LONGEST: usize = 2_000;

/// Compares the interface that a component exports by the name `interface` with the contract's application.
pub fn check(component: &Component, interface: &str, label: &str) -> Result<()> {
    let engine = component.engine();
    let types = component.component_type();
    let export = types.exports(engine).find(|(name, _)| *name == interface);
    let Some((_, ComponentItem::ComponentInstance(application))) = export.map(|(name, export)| (name, export.ty))
    else {
        return Err(misfit(label, "it is no interface"));
    };
    let mut resources = resources(engine, &application);
    for (_, import) in types.imports(engine) {
        if let ComponentItem::ComponentInstance(instance) = import.ty {
            resources.extend(self::resources(engine, &instance));
        }
    }
    for (name, expected) in FUNCTIONS {
        let found = match application.get_export(engine, name).map(|export| export.ty) {
            Some(ComponentItem::ComponentFunc(function)) => signature(&function, &resources),
            Some(_) => "something else than a function".to_owned(),
            None => {
                return Err(misfit(label, &format!("it lacks `{name}`")));
            }
        };
        if found != *expected {
            return Err(other_type(label, name, expected, &found));
        }
    }
    Ok(())
}

fn other_type(label: &str, name: &str, expected: &str, found: &str) -> Fault {
    misfit(label, &format!("`{name}` is not of the type that it should be"))
        .with_detail(format!("expected: {expected}\nfound:    {found}"))
}

type Resources = Vec<(String, ResourceType)>;

fn resources(engine: &wasmtime::Engine, instance: &ComponentInstance) -> Resources {
    let named = |(name, export): (&str, _)| match export {
        ComponentItem::Resource(resource) => Some((name.to_owned(), resource)),
        _ => None,
    };
    instance
        .exports(engine)
        .filter_map(|(name, export)| named((name, export.ty)))
        .collect()
}

fn signature(function: &ComponentFunc, resources: &Resources) -> String {
    let mut text = Text {
        text: String::new(),
        resources,
    };
    // It fails where the text is longer than any that could be right.
    if text.function(function).is_err() {
        text.text += "...";
    }
    text.text
}

struct Text<'a> {
    text: String,
    resources: &'a Resources,
}

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.text.len() + text.len() > LONGEST {
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

impl Text<'_> {
    fn function(&mut self, function: &ComponentFunc) -> fmt::Result {
        if function.async_() {
            self.write_str("async ")?;
        }
        self.write_str("func(")?;
        self.list(function.params().map(|(_, ty)| ty))?;
        self.write_str(")")?;
        for result in function.results() {
            self.write_str(" -> ")?;
            self.ty(&result)?;
        }
        Ok(())
    }

    fn list(&mut self, types: impl Iterator<Item = Type>) -> fmt::Result {
        for (place, ty) in types.enumerate() {
            if place > 0 {
                self.write_str(", ")?;
            }
            self.ty(&ty)?;
        }
        Ok(())
    }

    fn ty(&mut self, ty: &Type) -> fmt::Result {
        match ty {
            Type::Bool => self.write_str("bool"),
            Type::S8 => self.write_str("s8"),
            Type::U8 => self.write_str("u8"),
            Type::S16 => self.write_str("s16"),
            Type::U16 => self.write_str("u16"),
            Type::S32 => self.write_str("s32"),
            Type::U32 => self.write_str("u32"),
            Type::S64 => self.write_str("s64"),
            Type::U64 => self.write_str("u64"),
            Type::Float32 => self.write_str("f32"),
            Type::Float64 => self.write_str("f64"),
            Type::Char => self.write_str("char"),
            Type::String => self.write_str("string"),
            Type::List(list) => self.of("list", [Some(list.ty())]),
            Type::Option(option) => self.of("option", [Some(option.ty())]),
            Type::Result(result) => self.of("result", [result.ok(), result.err()]),
            Type::Tuple(tuple) => {
                self.write_str("tuple<")?;
                self.list(tuple.types())?;
                self.write_str(">")
            }
            Type::Record(record) => {
                for (place, field) in record.fields().enumerate() {
                    write!(self, "{}{}: ", if place == 0 { "record { " } else { ", " }, field.name)?;
                    self.ty(&field.ty)?;
                }
                self.write_str(" }")
            }
            Type::Variant(variant) => {
                for (place, case) in variant.cases().enumerate() {
                    write!(self, "{}{}", if place == 0 { "variant { " } else { ", " }, case.name)?;
                    if let Some(ty) = case.ty {
                        self.write_str("(")?;
                        self.ty(&ty)?;
                        self.write_str(")")?;
                    }
                }
                self.write_str(" }")
            }
            Type::Enum(names) => {
                self.write_str("enum { ")?;
                self.names(names.names())
            }
            Type::Flags(names) => {
                self.write_str("flags { ")?;
                self.names(names.names())
            }
            Type::Own(resource) => self.resource(resource),
            Type::Borrow(resource) => {
                self.write_str("borrow<")?;
                self.resource(resource)?;
                self.write_str(">")
            }
            // Of no use in this contract, so that their names say enough.
            Type::Map(_) => self.write_str("map"),
            Type::Future(_) => self.write_str("future"),
            Type::Stream(_) => self.write_str("stream"),
            Type::ErrorContext => self.write_str("error-context"),
            Type::FixedLengthList(_) => self.write_str("list<_, _>"),
        }
    }

    fn of<const N: usize>(&mut self, name: &str, types: [Option<Type>; N]) -> fmt::Result {
        self.write_str(name)?;
        for (place, ty) in types.iter().enumerate() {
            self.write_str(if place == 0 { "<" } else { ", " })?;
            match ty {
                Some(ty) => self.ty(ty)?,
                None => self.write_str("_")?,
            }
        }
        self.write_str(">")
    }

    fn names<'n>(&mut self, names: impl Iterator<Item = &'n str>) -> fmt::Result {
        for (place, name) in names.enumerate() {
            write!(self, "{}{name}", if place == 0 { "" } else { ", " })?;
        }
        self.write_str(" }")
    }

    fn resource(&mut self, resource: &ResourceType) -> fmt::Result {
        let names = || {
            self.resources
                .iter()
                .filter(|(_, known)| known == resource)
                .map(|(name, _)| name.as_str())
        };
        // One resource may go by several names.
        let contract = names().find(|name| matches!(*name, "input" | "chunks"));
        let name = contract.or_else(|| names().next()).unwrap_or("resource").to_owned();
        self.write_str(&name)
    }
}
