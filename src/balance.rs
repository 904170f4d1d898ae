//! How many connections each worker has, for the others to see: who has many more lets them go first.
//!
//! All workers accept from the same sockets, and whoever runs at that moment takes what there is. When connections come
//! all at once and stay, as those of a proxy do, that is often one worker for all of them.
//!
//! The table is a file in memory that the arbiter makes and its workers inherit, a number for each, in the machine's byte
//! order. A worker writes its own and reads all; nothing is locked, and a number that is out of date costs a moment.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::Duration;

use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::descriptors;

/// One that accepts nothing: it has not started, or is about to end.
const NOBODY: u32 = u32::MAX;
const ENTRY_BYTES: usize = size_of::<u32>();
/// How long others are let go first, and how many are accepted then without looking again: they may not be able to come.
const COURTESY: Duration = Duration::from_millis(1);
const UNCHECKED: u32 = 4;

/// The arbiter's end.
pub struct Balance {
    table: File,
    places: usize,
}

/// What a worker is told of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Handover {
    fd: RawFd,
    place: usize,
    places: usize,
}

impl Balance {
    /// For so many workers at most.
    pub fn new(places: usize) -> io::Result<Self> {
        let table = File::from(rustix::fs::memfd_create("workers", MemfdFlags::empty())?);
        table.write_all_at(&NOBODY.to_ne_bytes().repeat(places), 0)?;
        Ok(Self { table, places })
    }

    pub fn hand_over(&self, place: usize) -> Handover {
        Handover {
            fd: self.table.as_raw_fd(),
            place,
            places: self.places,
        }
    }

    /// The worker in this place is no more.
    pub fn clear(&self, place: usize) {
        write(&self.table, place, NOBODY);
    }
}

fn write(table: &File, place: usize, count: u32) {
    // A number that cannot be written is out of date, no more.
    let _ = table.write_at(&count.to_ne_bytes(), (place * ENTRY_BYTES) as u64);
}

impl Handover {
    /// The worker's end. Called once, before the worker opens anything.
    pub fn open(self) -> io::Result<Rc<Seat>> {
        let table = File::from(descriptors::adopt(self.fd)?);
        write(&table, self.place, 0);
        Ok(Rc::new(Seat {
            table,
            place: self.place,
            places: self.places,
            count: Cell::new(0),
            is_leaving: Cell::new(false),
            unchecked: Cell::new(0),
        }))
    }
}

/// A worker's end.
pub struct Seat {
    table: File,
    place: usize,
    places: usize,
    count: Cell<u32>,
    is_leaving: Cell<bool>,
    unchecked: Cell<u32>,
}

impl Seat {
    /// Another connection; until what is returned is dropped.
    pub fn enter(self: &Rc<Self>) -> Entry {
        self.change(self.count.get() + 1);
        Entry(self.clone())
    }

    /// It accepts no more: nobody should wait for it.
    pub fn leave(&self) {
        self.is_leaving.set(true);
        write(&self.table, self.place, NOBODY);
    }

    fn change(&self, count: u32) {
        self.count.set(count);
        if !self.is_leaving.get() {
            write(&self.table, self.place, count);
        }
    }

    /// Before it accepts: if it is ahead of another worker, gives that the time to come first.
    pub async fn let_others_go_first(&self) {
        let unchecked = self.unchecked.get();
        if unchecked > 0 {
            self.unchecked.set(unchecked - 1);
        } else if is_ahead(self.count.get(), self.least()) {
            sleep(COURTESY).await;
            self.unchecked.set(UNCHECKED);
        }
    }

    /// How many the one has that has the fewest, this one included.
    fn least(&self) -> u32 {
        let mut table = vec![0; self.places * ENTRY_BYTES];
        let Ok(read) = self.table.read_at(&mut table, 0) else {
            return NOBODY;
        };
        let (entries, _) = table[..read].as_chunks();
        entries
            .iter()
            .map(|entry| u32::from_ne_bytes(*entry))
            .min()
            .unwrap_or(NOBODY)
    }
}

/// By two, or by an eighth where there are many: a few connections more or less are no reason to wait.
fn is_ahead(count: u32, least: u32) -> bool {
    count > least.saturating_add(1).saturating_add(least / 8)
}

/// One connection.
pub struct Entry(Rc<Seat>);

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.change(self.0.count.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(balance: &Balance, place: usize) -> Rc<Seat> {
        let table = balance.table.try_clone().unwrap();
        let handover = Handover {
            fd: std::os::fd::IntoRawFd::into_raw_fd(table),
            ..balance.hand_over(place)
        };
        handover.open().unwrap()
    }

    #[test]
    fn workers_see_who_has_the_fewest() {
        let balance = Balance::new(3).unwrap();
        let seats = [open(&balance, 0), open(&balance, 2)];
        let mut entries: Vec<_> = (0..5).map(|number| seats[number % 2].enter()).collect();
        assert_eq!((seats[0].count.get(), seats[0].least(), seats[1].least()), (3, 2, 2));
        entries.clear();
        assert_eq!(seats[0].least(), 0);
        let _entry = seats[1].enter();
        seats[0].leave();
        assert_eq!(seats[1].least(), 1);
        let late = seats[0].enter();
        assert_eq!(seats[1].least(), 1);
        drop(late);
        balance.clear(2);
        assert_eq!(seats[1].least(), NOBODY);
    }

    #[test]
    fn a_few_more_are_no_reason_to_wait() {
        for (count, least, ahead) in [
            (0, 0, false),
            (1, 0, false),
            (2, 0, true),
            (9, 8, false),
            (11, 8, true),
            (899, 800, false),
            (902, 800, true),
            (7, NOBODY, false),
        ] {
            assert_eq!(is_ahead(count, least), ahead, "{count} {least}");
        }
    }

    #[tokio::test]
    async fn who_is_ahead_waits_now_and_then() {
        let balance = Balance::new(2).unwrap();
        let (one, other) = (open(&balance, 0), open(&balance, 1));
        let _entries: Vec<_> = (0..2).map(|_| one.enter()).collect();
        other.let_others_go_first().await;
        assert_eq!(other.unchecked.get(), 0);
        for left in (0..=UNCHECKED).rev().chain([UNCHECKED]) {
            one.let_others_go_first().await;
            assert_eq!(one.unchecked.get(), left);
        }
    }
}
