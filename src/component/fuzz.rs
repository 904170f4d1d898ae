//! Components that somebody has damaged: whoever looks at one refuses it with a line, or takes it; nothing panics.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::FileFailurePersistence;
use wasmparser::Validator;

use super::{Bundle, Limits, binary, fuse, heap, world};
use crate::engine;
use crate::fault::Fault;

/// What is damaged.
fn seeds() -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/components");
    let kept = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path());
    let mut texts: Vec<_> = kept.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    texts.push(include_str!("../welcome.wat").to_owned());
    texts.iter().map(|text| wat::parse_str(text).unwrap()).collect()
}

#[derive(Clone, Debug)]
enum Damage {
    Change(Index, u8),
    Cut(Index),
    Repeat(Index, Index),
    Drop(Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<Index>;
    prop_oneof![
        8 => (place(), any::<u8>()).prop_map(|(at, byte)| Damage::Change(at, byte)),
        1 => place().prop_map(Damage::Cut),
        1 => (place(), place()).prop_map(|(from, to)| Damage::Repeat(from, to)),
        1 => (place(), place()).prop_map(|(from, to)| Damage::Drop(from, to)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let between = |from: &Index, to: &Index, length| {
        let (from, to) = (from.index(length), to.index(length));
        from.min(to)..from.max(to)
    };
    match damage {
        Damage::Change(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Damage::Repeat(from, to) => {
            let range = between(from, to, bytes.len());
            let piece = bytes[range.clone()].to_vec();
            bytes.splice(range.end..range.end, piece);
        }
        Damage::Drop(from, to) => {
            let range = between(from, to, bytes.len());
            bytes.drain(range);
        }
    }
}

/// What `check` does before there is code to be run.
fn look(bytes: &[u8]) -> Result<(), Fault> {
    let limits = Limits::default();
    world::Contract::of("damaged", bytes)?;
    binary::check_size("damaged", bytes, &limits)?;
    let directory = tempfile::tempdir().unwrap();
    Bundle::unpack(bytes, directory.path())?;
    let engine = engine::compiler().unwrap();
    // What is left by now is for the compiler to refuse.
    let _ = engine.precompile_component(bytes);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/corpus/components.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_damaged_component_is_refused_with_a_line_or_taken(seed in select(seeds()), damages in vec(damage(), 0..6)) {
        let mut bytes = seed;
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        if let Err(fault) = look(&bytes) {
            prop_assert_eq!(fault.to_string().lines().count(), 1);
        }
    }

    #[test]
    fn what_is_valid_is_so_when_it_is_made_better(seed in select(seeds()), damages in vec(damage(), 0..3)) {
        let mut bytes = seed;
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        if Validator::new().validate_all(&bytes).is_ok() {
            for better in [fuse::fuse(&bytes), heap::laid_out(&bytes)].into_iter().flatten() {
                let valid = Validator::new().validate_all(&better);
                prop_assert!(valid.is_ok(), "{:?}", valid.err());
            }
        }
    }
}
