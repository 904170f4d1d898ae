//! A component whose core modules were linked to each other when it was built, as a component of few modules: the
//! same functions, in one module that owns its memory and its table.
//!
//! A Python app comes as some fifteen modules, which import each other's functions, memory, table and globals as shared
//! libraries do. An instance has to look up all of it each time it is made, and code that reaches memory through
//! an import is slower than code whose memory is its own. What they are linked to never changes, so it is done here once:
//!
//! - calls from one module to another become calls, also where they went through the table ([`whole`]);
//! - globals that nobody sets become constants: addresses of data and of functions, mostly;
//! - what cannot be reached any more is left out.
//!
//! What has the shape that wit-component gives such a component is accepted: a module of shims, which is there first
//! and stands in for what the host offers, a fix-up that fills in its table at the end, and all others between these.

mod constant;
mod kept;
mod module;
mod numbers;
mod outline;
mod rewrite;
mod shim;
mod uses;
mod whole;

use anyhow::Result;
use wasmparser::Payload;

use super::sections::{self, COMPONENT_SECTION};
use kept::Kept;
use outline::Outline;
use shim::Shim;
use uses::Uses;
use whole::Whole;

/// A shim, a fix-up, and two modules that are fused.
const LEAST_MODULES: usize = 4;

/// Whether there is any point in trying, which takes as much memory as there is code: there are modules enough.
pub fn is_worth_trying(bytes: &[u8]) -> bool {
    let Ok(sections) = sections::sections(bytes) else {
        return false;
    };
    let modules = sections
        .iter()
        .filter(|section| matches!(section, Payload::ModuleSection { .. }));
    modules.count() >= LEAST_MODULES
        || sections.into_iter().any(|section| match section {
            Payload::ComponentSection { unchecked_range, .. } => is_worth_trying(&bytes[unchecked_range]),
            _ => false,
        })
}

/// The component with its modules fused, and those of the components in it, as far as they have the shape for it. It has
/// to be a valid one. None if there is nothing to be done.
pub fn fuse(bytes: &[u8]) -> Option<Vec<u8>> {
    let inside = sections::replaced(bytes, |id, section| match id {
        COMPONENT_SECTION => fuse(section),
        _ => None,
    });
    match level(inside.as_deref().unwrap_or(bytes)) {
        Ok(fused) => Some(fused),
        Err(_) => inside,
    }
}

/// The modules of a component itself; or why they are not fused.
fn level(bytes: &[u8]) -> Result<Vec<u8>> {
    let outline = Outline::of(bytes)?;
    let mut shim = Shim::of(&outline)?;
    let uses = Uses::of(bytes, &outline, &shim)?;
    let whole = Whole::of(&outline, &mut shim, &uses)?;
    let module = module::write(&whole, &Kept::of(&whole)?)?;
    rewrite::rewrite(bytes, &outline, &shim, &uses, &whole, &module)
}

#[cfg(test)]
mod tests {
    use wasmparser::{Operator, Parser};

    use super::*;
    use crate::component::test_instance;

    const LINKED: &str = include_str!("../../../tests/corpus/components/linked.wat");

    /// What two calls of `run` return.
    fn results(bytes: &[u8]) -> [u32; 2] {
        let (mut store, instance) = test_instance(bytes);
        let run = instance.get_typed_func::<(), (u32,)>(&mut store, "run").unwrap();
        [(); 2].map(|()| run.call(&mut store, ()).unwrap().0)
    }

    /// Of all modules.
    fn count(bytes: &[u8], counted: impl Fn(&Payload<'_>) -> usize) -> usize {
        Parser::new(0)
            .parse_all(bytes)
            .map(|payload| counted(&payload.unwrap()))
            .sum()
    }

    fn operators(bytes: &[u8], counted: impl Fn(&Operator<'_>) -> bool) -> usize {
        count(bytes, |payload| match payload {
            Payload::CodeSectionEntry(body) => {
                let operators = body.get_operators_reader().unwrap().into_iter();
                operators.filter(|operator| counted(operator.as_ref().unwrap())).count()
            }
            _ => 0,
        })
    }

    fn modules(bytes: &[u8]) -> usize {
        count(bytes, |payload| {
            usize::from(matches!(payload, Payload::ModuleSection { .. }))
        })
    }

    #[test]
    fn what_is_fused_does_the_same() {
        let before = wat::parse_str(LINKED).unwrap();
        let after = fuse(&before).unwrap();
        assert_eq!((modules(&before), modules(&after)), (4, 3));
        // The second module's start came first, then `hello!` has six bytes.
        assert_eq!(results(&before), [2 * (108 + 6), 2 * (109 + 6)]);
        assert_eq!(results(&after), results(&before));
        assert_eq!(fuse(&after), None, "there is nothing left to be done");
        assert_eq!((is_worth_trying(&before), is_worth_trying(&after)), (true, false));
    }

    #[test]
    fn links_become_calls_and_constants() {
        let before = wat::parse_str(LINKED).unwrap();
        let after = fuse(&before).unwrap();
        // The shim's is left.
        let indirect = |bytes: &[u8]| operators(bytes, |operator| matches!(operator, Operator::CallIndirect { .. }));
        assert_eq!((indirect(&before), indirect(&after)), (2, 1));
        let read = |bytes: &[u8]| operators(bytes, |operator| matches!(operator, Operator::GlobalGet { .. }));
        assert_eq!((read(&before), read(&after)), (5, 3), "only what is set is read");
        let functions = |bytes: &[u8]| {
            count(bytes, |payload| {
                usize::from(matches!(payload, Payload::CodeSectionEntry(_)))
            })
        };
        assert_eq!(
            (functions(&before), functions(&after)),
            (6, 4),
            "what nobody calls is left out"
        );
    }

    #[test]
    fn a_component_inside_another_one_is_fused() {
        let outer = format!("(component {})", LINKED.replace("(component", "(component $inner"));
        let outer = wat::parse_str(outer).unwrap();
        assert!(is_worth_trying(&outer));
        assert_eq!(modules(&fuse(&outer).unwrap()), 3);
    }

    #[test]
    fn what_has_another_shape_is_left_as_it_is() {
        let changed = |from: &str, to: &str| {
            assert!(LINKED.contains(from), "{from}");
            let bytes = wat::parse_str(LINKED.replace(from, to)).unwrap();
            fuse(&bytes).is_some()
        };
        assert!(changed("$main", "$first"));
        // What would change what it does:
        assert!(
            !changed("(elem declare func $add)", "(elem func $add)"),
            "code that fills in a table"
        );
        let starting = r#"(func (export "starts")) (start 2) (global (export "text")"#;
        assert!(
            changed(r#"(global (export "text")"#, starting),
            "one function that starts by itself"
        );
        assert!(!changed("\"$imports\"", "\"$others\""), "no fix-up");
        assert!(
            !changed("i32.const 0\n      call_indirect", "i32.const 1\n      call_indirect"),
            "a shim of another place"
        );
        assert!(
            !changed("(elem (table $shim) (i32.const 0)", "(elem (table $shim) (i32.const 1)"),
            "a place left out"
        );
        let data = r#"(data (i32.const 32) "x")"#;
        let started = LINKED.replace(r#"(global (export "text")"#, starting);
        let own = started.replace("(start 2)", &format!("(start 2) {data}"));
        assert!(
            fuse(&wat::parse_str(own).unwrap()).is_some(),
            "data of the one that starts"
        );
        let mark = r#"(data $mark "!")"#;
        let later = started.replace(mark, &format!("{mark} {data}"));
        assert_eq!(
            fuse(&wat::parse_str(later).unwrap()),
            None,
            "data that come after a start"
        );
        let twice = "(core instance (instantiate $main)) (core instance $host";
        assert!(
            !changed("(core instance $host", twice),
            "a module that is instantiated twice"
        );
        assert!(
            !changed(
                "(import \"length\"",
                "(import \"module\" (core module)) (import \"length\""
            ),
            "a module from elsewhere"
        );
    }
}
