//! What the guard, below the parser, and the service, on top of it, have to tell each other about a connection.

use std::cell::{Cell, RefCell};

use super::scanner::Refused;

/// Requests by their number: the parser hands them on in the order in which they came, so that the one after the last
/// that passed is the one that was refused.
#[derive(Debug, Default)]
pub struct Ledger {
    passed: Cell<u64>,
    served: Cell<u64>,
    refused: RefCell<Option<Refused>>,
}

impl Ledger {
    pub(super) fn pass(&self, heads: u64) {
        self.passed.set(self.passed.get() + heads);
    }

    /// The next request does not pass.
    pub(super) fn refuse(&self, refused: Refused) {
        *self.refused.borrow_mut() = Some(refused);
    }

    /// The service has got a request. Why it is none, if it stands for one that was refused.
    pub fn next(&self) -> Option<Refused> {
        let number = self.served.get() + 1;
        self.served.set(number);
        if number > self.passed.get() {
            self.refused.borrow_mut().take()
        } else {
            None
        }
    }
}
