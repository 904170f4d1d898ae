//! A component, section by section.

use anyhow::{Context, Result, anyhow, bail};
use wasm_encoder::reencode::{Error, ReencodeComponent};
use wasm_encoder::{Component, RawSection};
use wasmparser::{Chunk, Parser, Payload};

/// The numbers of sections, as the binary format has them.
pub const MODULE_SECTION: u8 = 1;
pub const COMPONENT_SECTION: u8 = 4;

/// What reading a section comes to.
pub type Read<T> = std::result::Result<T, Error<anyhow::Error>>;

/// The sections of a component itself, each of which is there as a whole; those that are modules and components are not
/// looked into.
pub fn sections(bytes: &[u8]) -> Result<Vec<Payload<'_>>> {
    let mut parser = Parser::new(0);
    let (mut sections, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let Chunk::Parsed { consumed, payload } = parser.parse(rest, true)? else {
            bail!("it is cut off");
        };
        rest = &rest[consumed..];
        if let Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } =
            &payload
        {
            rest = rest.get(unchecked_range.len()..).context("it is cut off")?;
        }
        sections.push(payload);
    }
    Ok(sections)
}

/// The component with others in the place of some sections, by their numbers and what is in them; None if none of them changes.
pub fn replaced(bytes: &[u8], change: impl Fn(u8, &[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let sections: Vec<_> = sections(bytes).ok()?.iter().filter_map(Payload::as_section).collect();
    let new: Vec<_> = sections
        .iter()
        .map(|(id, range)| change(*id, &bytes[range.clone()]))
        .collect();
    new.iter().any(Option::is_some).then(|| {
        let mut component = Component::new();
        for ((id, range), new) in sections.into_iter().zip(&new) {
            let data = new.as_deref().unwrap_or(&bytes[range]);
            component.section(&RawSection { id, data });
        }
        component.finish()
    })
}

/// What somebody who looks at each section makes of a component.
pub fn go_through(who: &mut impl ReencodeComponent<Error = anyhow::Error>, bytes: &[u8]) -> Result<Component> {
    let mut component = Component::new();
    for section in sections(bytes)? {
        who.parse_component_payload(&mut component, section, bytes)
            .map_err(into_anyhow)?;
    }
    Ok(component)
}

pub fn into_anyhow(error: Error<anyhow::Error>) -> anyhow::Error {
    match error {
        Error::UserError(error) => error,
        other => anyhow!("{other}"),
    }
}
