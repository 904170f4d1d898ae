//! The chain: middleware around an app, each link in a sandbox of its own, called by the one around it through the host.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use clap::Args;
use serde::{Deserialize, Serialize};
use wasmtime_wasi::async_trait;

use super::application::{Application, Reply, Request, RequestBody};
use super::budget::{self, Wish};
use super::failure::Failure;
use super::input::Input;
use super::label::Label;
use super::link::{Link, Orders};
use super::ticker::Ticker;
use crate::vars::Vars;
use crate::{engine, log};

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Middleware")]
pub struct Options {
    /// Put a middleware around the app: a component, or Python that makes one (module:create_app). May be repeated, the
    /// first is the outermost. It has the limits of the server, and neither --env nor --dir, which are the app's.
    #[arg(long, value_name = "FILE|MODULE:CALLABLE")]
    pub middleware: Vec<PathBuf>,

    /// The most middleware around an app.
    #[arg(long, default_value_t = 16, value_name = "N")]
    pub limit_middleware: u32,

    /// Calls inward that the middleware of one request make, all together.
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub limit_inward_calls: u32,

    #[command(flatten)]
    pub memory: budget::Options,
}

/// The links, the outermost first, the app last.
pub struct Chain {
    /// The outermost link's.
    name: Arc<str>,
    links: Vec<Link>,
    inward_calls: u32,
}

impl Chain {
    /// Makes the links ready to run.
    pub fn load(orders: Vec<Orders>, options: &Options) -> anyhow::Result<Arc<Self>> {
        let count = u32::try_from(orders.len())?;
        let wishes: Vec<_> = orders
            .iter()
            .map(|orders| {
                let needs = &orders.component.needs;
                Wish::new(needs, engine::slots(needs, orders.limits.max_instances, count))
            })
            .collect();
        let (budget, shares) = options.memory.divide(&wishes);
        let budget = Arc::new(budget);
        let ticker = Arc::new(Ticker::start(engine::TICK)?);
        let links: Vec<_> = orders
            .into_iter()
            .zip(shares)
            .map(|(orders, share)| {
                let name = orders.component.name.clone();
                Link::load(orders, share, budget.clone(), ticker.clone())
                    .map_err(|error| anyhow::anyhow!("{name}: {error:#}"))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Arc::new(Self {
            name: links.first().map_or_else(|| "".into(), |link: &Link| link.name.clone()),
            links,
            inward_calls: options.limit_inward_calls,
        }))
    }

    /// What the log calls a request: what comes out of the chain is what the outermost link returned.
    pub fn label(&self, target: &Arc<str>) -> Label {
        Label::new(&self.name, target)
    }

    /// The outermost link's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The innermost link.
    pub fn app(&self) -> Option<&Link> {
        self.links.last()
    }

    /// Whether an instance of the app serves one request only.
    pub fn run_once(&self) -> bool {
        self.app().is_some_and(|app| app.instances.run_once())
    }

    /// Calls the outermost link for one request, `target` in the log. A failure is in the log already.
    pub async fn call(self: &Arc<Self>, target: Arc<str>, vars: Vars, input: Option<Input>) -> Result<Reply, Failure> {
        let journey = Arc::new(Journey {
            chain: self.clone(),
            target,
            calls: AtomicU32::new(0),
        });
        let body = RequestBody::of(input);
        enter(journey, 0, Request { vars, body }).await
    }

    /// Ends the instances that a peak of requests has left behind; never returns.
    pub async fn tidy(&self) {
        let mut tidying = tokio::task::JoinSet::new();
        for link in &self.links {
            let instances = link.instances.clone();
            tidying.spawn(async move { instances.tidy().await });
        }
        tidying.join_all().await;
    }

    /// Ends when no request has an instance, those included whose clients have gone.
    pub async fn quiet(&self) {
        for link in &self.links {
            link.instances.quiet().await;
        }
    }
}

/// One request on its way through the chain.
struct Journey {
    chain: Arc<Chain>,
    /// `GET /path`.
    target: Arc<str>,
    /// Calls inward so far.
    calls: AtomicU32,
}

/// What is inside of a link, for one request.
struct Inside {
    journey: Arc<Journey>,
    /// The place of the next link.
    next: usize,
}

#[async_trait]
impl Application for Inside {
    async fn call(&self, request: Request) -> Result<Reply, Failure> {
        let limit = self.journey.chain.inward_calls;
        let before = self.journey.calls.fetch_add(1, Ordering::Relaxed);
        if before >= limit {
            let why = format!("the request has made --limit-inward-calls {limit} calls inward");
            if before == limit
                && let Some(link) = self.journey.chain.links.get(self.next - 1)
            {
                log::error(format_args!("{}: {}: {why}", link.name, self.journey.target));
            }
            return Err(Failure::Unavailable(why));
        }
        enter(self.journey.clone(), self.next, request).await
    }
}

/// Calls a link, or the one inside of it if it may be skipped and has to be.
async fn enter(journey: Arc<Journey>, first: usize, mut request: Request) -> Result<Reply, Failure> {
    let links = &journey.chain.links;
    for (place, link) in links.iter().enumerate().skip(first) {
        let label = Label::new(&link.name, &journey.target);
        let inside = (place + 1 < links.len()).then(|| {
            Arc::new(Inside {
                journey: journey.clone(),
                next: place + 1,
            }) as Arc<dyn Application>
        });
        let failed = match link.call(label.clone(), inside, request).await {
            Ok(reply) => return Ok(reply),
            Err(failed) => failed,
        };
        match failed.request {
            Some(untouched) if link.fail_open => {
                log::warning(format_args!("{label}: skipped, as it is set to fail open"));
                request = *untouched;
            }
            _ => return Err(failed.failure),
        }
    }
    Err(Failure::Unavailable("there is no link to call".into()))
}
