//! A component, section by section.

use anyhow::{Context, Result, anyhow, bail};
use wasm_encoder::Component;
use wasm_encoder::reencode::{Error, ReencodeComponent};
use wasmparser::{Chunk, Parser, Payload};

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
