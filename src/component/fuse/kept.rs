//! What of the whole is ever used, and the numbers that it has in the fused module.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Result, bail};
use wasmparser::Operator;

use super::numbers::{Function, Item};
use super::whole::{Own, Whole};
use crate::component::part::{self, Slot};

/// What the code of a function does that matters to others.
#[derive(Default)]
struct Deeds {
    calls: Vec<Function>,
    /// What it takes references to.
    takes: Vec<Function>,
    /// Globals.
    sets: Vec<u32>,
}

pub struct Kept {
    /// For a function that only calls another one through a table: that one.
    instead: HashMap<Function, Function>,
    /// The shims, then the functions of the parts, in the order of their new numbers.
    pub imports: Vec<u32>,
    pub own: Vec<u32>,
    /// What code takes references to, which has to be declared.
    pub taken: BTreeSet<Function>,
    /// The new number of each global that is ever set; the others are constants.
    pub globals: Vec<Option<u32>>,
}

impl Kept {
    pub fn of(whole: &Whole<'_>) -> Result<Self> {
        let mut kept = Self {
            instead: HashMap::new(),
            imports: Vec::new(),
            own: Vec::new(),
            taken: BTreeSet::new(),
            globals: vec![None; whole.globals.len()],
        };
        let (deeds, tables_change) = look_through(whole)?;
        if !tables_change {
            kept.see_through_tables(whole)?;
        }
        kept.follow(whole, &deeds);
        Ok(kept)
    }

    /// Finds the functions that are there for modules that need each other: one of them had to be made first, and got
    /// functions that call those of the other one through a table.
    fn see_through_tables(&mut self, whole: &Whole<'_>) -> Result<()> {
        let mut slots = HashMap::new();
        for segment in &whole.segments {
            for (slot, function) in (segment.offset..).zip(&segment.functions) {
                slots.insert((segment.table, slot), *function);
            }
        }
        let mut passing_on = HashMap::new();
        for (place, own) in (0u32..).zip(&whole.own) {
            if let Some(called) = called_through_table(whole, own)?
                && let Some(function) = slots.get(&called)
                && whole.type_of(*function) == whole.types.all.get(own.ty as usize)
            {
                passing_on.insert(Function::Own(place), *function);
            }
        }
        // What passes on to another such function may do so in a circle, and is left as it is.
        let ends = passing_on.iter().filter(|(_, target)| !passing_on.contains_key(target));
        self.instead = ends.map(|(function, target)| (*function, *target)).collect();
        Ok(())
    }

    /// From what others can call to all that this can call.
    fn follow(&mut self, whole: &Whole<'_>, deeds: &[Deeds]) {
        let exported = whole.exports.values().filter_map(|item| match item {
            Item::Function(function) => Some(*function),
            _ => None,
        });
        let in_tables = whole.segments.iter().flat_map(|segment| &segment.functions).copied();
        let mut ahead: Vec<Function> = exported.chain(in_tables).chain(whole.start).collect();
        let (mut imports, mut own) = (BTreeSet::new(), BTreeSet::new());
        let (mut taken, mut set): (BTreeSet<Function>, BTreeSet<u32>) = (BTreeSet::new(), BTreeSet::new());
        while let Some(function) = ahead.pop() {
            match self.instead(function) {
                Function::Imported(place) => drop(imports.insert(place)),
                Function::Own(place) => {
                    if own.insert(place) {
                        let deeds = &deeds[place as usize];
                        ahead.extend(deeds.calls.iter().chain(&deeds.takes));
                        taken.extend(deeds.takes.iter().map(|function| self.instead(*function)));
                        set.extend(&deeds.sets);
                    }
                }
            }
        }
        for (index, global) in (0..).zip(set) {
            self.globals[global as usize] = Some(index);
        }
        self.imports = imports.into_iter().collect();
        self.own = own.into_iter().collect();
        self.taken = taken;
    }

    /// The function that does what this one does: itself, unless it only passes on.
    fn instead(&self, function: Function) -> Function {
        self.instead.get(&function).copied().unwrap_or(function)
    }

    /// The number of a function in the fused module.
    pub fn index(&self, function: Function) -> u32 {
        let found = match self.instead(function) {
            Function::Imported(place) => self.imports.binary_search(&place),
            Function::Own(place) => self.own.binary_search(&place).map(|index| index + self.imports.len()),
        };
        // Whoever asks was followed to it.
        found.expect("what is referred to is kept") as u32
    }
}

/// What each function does, and whether any of them changes a table.
fn look_through(whole: &Whole<'_>) -> Result<(Vec<Deeds>, bool)> {
    let mut all = Vec::with_capacity(whole.own.len());
    let mut tables_change = false;
    for own in &whole.own {
        let numbers = &whole.numbers[&own.instance];
        let function = |index: u32| {
            let function = numbers.functions.get(index as usize);
            function.copied().context("a function that is used is missing")
        };
        let mut deeds = Deeds::default();
        for operator in own.body.get_operators_reader()? {
            match operator? {
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    deeds.calls.push(function(function_index)?);
                }
                Operator::RefFunc { function_index } => deeds.takes.push(function(function_index)?),
                Operator::GlobalSet { global_index } => {
                    let global = numbers.globals.get(global_index as usize);
                    deeds.sets.push(*global.context("a global that is set is missing")?);
                }
                Operator::TableInit { .. } | Operator::ElemDrop { .. } => {
                    bail!("a module fills its table in by itself")
                }
                operator => tables_change |= part::changes_tables(&operator),
            }
        }
        all.push(deeds);
    }
    Ok((all, tables_change))
}

/// The table and the slot there, if all that a function does is to hand its parameters to the function in it.
fn called_through_table(whole: &Whole<'_>, own: &Own<'_>) -> Result<Option<(u32, u32)>> {
    let parameters = whole.types.all[own.ty as usize].params().len();
    let Some(Slot { ty, table, slot }) = part::passes_on(&own.body, parameters)? else {
        return Ok(None);
    };
    let numbers = &whole.numbers[&own.instance];
    let same = numbers.types.get(ty as usize) == Some(&own.ty);
    let table = numbers.tables.get(table as usize).filter(|_| same);
    Ok(table.map(|table| (*table, slot)))
}
