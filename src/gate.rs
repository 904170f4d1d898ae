//! Lets connections in: so many at once, and so many from one address.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::connection::{self, Setting};
use crate::crowd::{Crowd, Seat};
use crate::listener::{Accept, Accepted, Endpoint};
use crate::{balance, log};

/// How long the queue of a socket that takes no newcomers has to be empty before it is closed.
const QUEUE_EMPTY: Duration = Duration::from_millis(100);
/// How long a worker goes on accepting in the end, in all. What is in the queue then is still taken, for it may be the machine
/// that stood still.
const QUEUE_DRAIN: Duration = Duration::from_secs(1);
/// How long that queue has to be empty, and how many are taken from it: it is as long by default.
const REST_EMPTY: Duration = Duration::from_millis(1);
const REST_MOST: usize = 2_048;
/// The pause after an error of accept, out of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the log says that connections are too many.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "HTTP")]
pub struct Options {
    /// Connections that a worker has at once. Beyond it those that wait longest for a request make way, and if
    /// all have one, newcomers wait to be accepted.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub worker_connections: usize,

    /// Connections that a worker has with one client address (IPv6: one /64 network); further ones are closed. 0: no limit.
    /// Unix sockets, --forwarded-allow-ips and --proxy-allow-from are proxies and have none.
    #[arg(long, default_value_t = 250, value_name = "N")]
    pub limit_connections_per_address: usize,
}

pub struct Gate {
    setting: Rc<Setting>,
    options: Options,
    balance: Option<Rc<balance::Seat>>,
    places: Arc<Semaphore>,
    crowd: Rc<Crowd>,
    /// How many connections there are with each address.
    neighbours: Rc<RefCell<HashMap<IpAddr, usize>>>,
    full: Warning,
    crowded: Warning,
    out: Warning,
}

impl Gate {
    pub fn new(setting: Rc<Setting>, options: Options, balance: Option<Rc<balance::Seat>>) -> Self {
        Self {
            setting,
            balance,
            places: Arc::new(Semaphore::new(options.worker_connections)),
            options,
            crowd: Rc::default(),
            neighbours: Rc::default(),
            full: Warning::default(),
            crowded: Warning::default(),
            out: Warning::default(),
        }
    }

    /// Ends when every connection has ended.
    pub async fn empty(&self) {
        let all = u32::try_from(self.options.worker_connections).unwrap_or(u32::MAX);
        let _ = self.places.acquire_many(all).await;
    }

    /// Accepts until the worker is to end, and then takes those who are waiting already.
    pub async fn accept(self: Rc<Self>, listener: Accept, drained: watch::Receiver<bool>) {
        let mut draining = drained.clone();
        loop {
            let newcomer = tokio::select! {
                newcomer = self.fair_newcomer(&listener) => newcomer,
                _ = draining.wait_for(|draining| *draining) => break,
            };
            match newcomer {
                Ok(newcomer) => self.let_in(newcomer, drained.clone()).await,
                Err(error) => self.pause_after(&error).await,
            }
        }
        if let Some(balance) = &self.balance {
            balance.leave();
        }
        let end = Instant::now() + QUEUE_DRAIN;
        let mut rest = 0;
        while rest < REST_MOST {
            let mut patience = QUEUE_EMPTY;
            if Instant::now() >= end {
                (patience, rest) = (REST_EMPTY, rest + 1);
            }
            match timeout(patience, self.newcomer(&listener)).await {
                Ok(Ok(newcomer)) => self.let_in(newcomer, drained.clone()).await,
                Ok(Err(error)) => self.pause_after(&error).await,
                Err(_) => return,
            }
        }
    }

    async fn fair_newcomer(&self, listener: &Accept) -> std::io::Result<(Accepted, Endpoint, Endpoint)> {
        if let Some(balance) = &self.balance {
            balance.let_others_go_first().await;
        }
        self.newcomer(listener).await
    }

    /// A connection is accepted only if there is a place, or somebody who can make way: else it waits in the kernel's queue,
    /// where another worker may find it.
    async fn newcomer(&self, listener: &Accept) -> std::io::Result<(Accepted, Endpoint, Endpoint)> {
        tokio::select! {
            biased;
            place = self.places.acquire() => drop(place),
            () = self.crowd.somebody() => {}
        }
        listener.accept().await
    }

    async fn let_in(&self, newcomer: (Accepted, Endpoint, Endpoint), drained: watch::Receiver<bool>) {
        let Some(neighbour) = self.neighbour(&newcomer.2) else {
            return;
        };
        // One that could make way when the newcomer was accepted may have a request by now; the next one that has none goes.
        let place = tokio::select! {
            biased;
            place = self.places.clone().acquire_owned() => place,
            () = self.crowd.somebody() => {
                self.crowd.make_way();
                self.full.say(format_args!(
                    "all --worker-connections {} are in use: those that wait longest for a request are closed",
                    self.options.worker_connections
                ));
                self.places.clone().acquire_owned().await
            }
        };
        let Ok(place) = place else {
            return;
        };
        let connection = connection::serve(self.setting.clone(), newcomer, Seat::new(self.crowd.clone()), drained);
        let entry = self.balance.as_ref().map(balance::Seat::enter);
        tokio::task::spawn_local(async move {
            connection.await;
            drop::<(OwnedSemaphorePermit, Neighbour, Option<balance::Entry>)>((place, neighbour, entry));
        });
    }

    /// A connection that was gone before it was accepted is nothing; being out of something passes, sooner if somebody makes
    /// way, and must not end the loop.
    async fn pause_after(&self, error: &std::io::Error) {
        if error.kind() != std::io::ErrorKind::ConnectionAborted {
            self.out
                .say(format_args!("cannot accept a connection: {error}; trying again"));
            self.crowd.make_way();
            sleep(ACCEPT_PAUSE).await;
        }
    }

    /// Counts a connection with its address; none if there are too many.
    fn neighbour(&self, remote: &Endpoint) -> Option<Neighbour> {
        let limit = self.options.limit_connections_per_address;
        let address = match remote {
            Endpoint::Inet(client) if limit > 0 && !self.setting.is_proxy(remote) => Some(network(client.ip())),
            _ => None,
        };
        if let Some(address) = address {
            let mut all = self.neighbours.borrow_mut();
            let count = all.entry(address).or_default();
            if *count >= limit {
                self.crowded.say(format_args!(
                    "{address}: more than --limit-connections-per-address {limit}: further ones are closed"
                ));
                return None;
            }
            *count += 1;
        }
        Some(Neighbour {
            address,
            all: self.neighbours.clone(),
        })
    }
}

/// One connection of an address.
struct Neighbour {
    address: Option<IpAddr>,
    all: Rc<RefCell<HashMap<IpAddr, usize>>>,
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut all = self.all.borrow_mut();
        if let Some(count) = all.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&address);
            }
        }
    }
}

/// What one client has of addresses: of IPv6, a network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

/// Something that may happen very often, and is not said each time.
#[derive(Default)]
struct Warning {
    said: Cell<Option<Instant>>,
}

impl Warning {
    fn say(&self, message: std::fmt::Arguments<'_>) {
        let now = Instant::now();
        if self.said.get().is_none_or(|said| now - said >= WARNING_INTERVAL) {
            self.said.set(Some(now));
            log::warning(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_of_ipv6_has_a_network() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("192.0.2.1"), "192.0.2.1");
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("2001:db8:1:2::"), network("2001:db8:1:2:ffff:ffff:ffff:ffff"));
    }
}
