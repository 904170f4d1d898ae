//! What a bench inside the process reaches of the rooms: the steps of a request, each by itself, with the defaults of
//! `serve`. It is no interface, and changes with the rooms.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use http::request::Parts;
use http::{Method, Request};
use tokio::runtime::Runtime;

use crate::component::Source;
use crate::links::{self, App, Middleware};
use crate::listener::Endpoint;
use crate::python;
use crate::sandbox::{Chain, ChainOptions, GrantOptions, Limits, Reply, ReplyBody};
use crate::serve::CacheOptions;
use crate::{environ, response, strict};

/// What this program is started with to compile; a bench has to pass it on to [`crate::main`].
pub use crate::component::compile::COMMAND as COMPILER_COMMAND;

/// The part of `serve`'s options that the steps need.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    chain: ChainOptions,
    #[command(flatten)]
    requests: strict::Options,
    #[command(flatten)]
    response: response::Limits,
    #[command(flatten)]
    grants: GrantOptions,
    #[command(flatten)]
    python: python::Options,
    #[command(flatten)]
    cache: CacheOptions,
}

/// A worker's rooms around an app, without a network.
pub struct Rooms {
    options: Options,
    runtime: Runtime,
    chain: Arc<Chain>,
    parts: Parts,
    peer: Endpoint,
    /// What the app answered when it was asked first.
    reply: Reply,
}

impl Rooms {
    /// Around an app and middleware, with options of `serve`, for a GET with these header fields.
    pub fn open(app: &Path, middleware: &[PathBuf], options: &[&str], fields: &[(&str, &str)]) -> anyhow::Result<Self> {
        let options = Options::try_parse_from(["bench"].iter().chain(options))?;
        let middleware: Vec<_> = middleware
            .iter()
            .map(|file| Middleware::new(file.clone(), &options.limits))
            .collect();
        let app = App {
            source: Source::File(app.to_owned()),
            limits: &options.limits,
            grants: &options.grants,
        };
        let cache = options.cache.open().map_err(said)?;
        let links = links::prepare(&middleware, &app, &options.chain, &options.python, &cache).map_err(said)?;
        let chain = Chain::load(links, &options.chain)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut request = Request::get("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(())?.into_parts();
        let peer = Endpoint::Inet((Ipv4Addr::LOCALHOST, 8000).into());
        let vars = environ::variables(&parts, &setting(&options, &peer));
        let reply = runtime.block_on(chain.call("GET /".into(), vars, None)).map_err(said)?;
        Ok(Self {
            options,
            runtime,
            chain,
            parts,
            peer,
            reply,
        })
    }

    /// From the request's head to the environ.
    pub fn environ(&self) -> impl Sized {
        environ::variables(&self.parts, &setting(&self.options, &self.peer))
    }

    /// An instance of the app, and the end of it; an idle one is taken and lost.
    pub fn instantiate(&self) -> anyhow::Result<()> {
        let app = self.chain.app().ok_or_else(|| anyhow::anyhow!("there is no app"))?;
        let lease = self.runtime.block_on(app.instances.lease()).map_err(said)?;
        drop(lease);
        Ok(())
    }

    /// The whole chain, with an environ made for it, and its body to the end.
    pub fn call(&self) -> anyhow::Result<impl Sized> {
        let vars = environ::variables(&self.parts, &setting(&self.options, &self.peer));
        let call = self.chain.call("GET /".into(), vars, None);
        self.runtime.block_on(async { read(call.await.map_err(said)?).await })
    }

    /// The check of what the app returned.
    pub fn check(&self) -> anyhow::Result<impl Sized> {
        let Reply {
            status,
            reason,
            headers,
            ..
        } = &self.reply;
        response::check(&Method::GET, *status, reason, headers, &self.options.response).map_err(said)
    }
}

/// Takes the blocks of an iterable and closes it, so that its instance is free for the next call.
async fn read(mut reply: Reply) -> anyhow::Result<Reply> {
    if let ReplyBody::Chunks(mut chunks) = std::mem::replace(&mut reply.body, ReplyBody::Bytes(Vec::new())) {
        while chunks.next().await.map_err(said)?.is_some() {}
        chunks.close().await;
    }
    Ok(reply)
}

fn setting<'a>(options: &Options, peer: &'a Endpoint) -> environ::Setting<'a> {
    environ::Setting {
        local: peer,
        peer,
        scheme: "http",
        multiprocess: true,
        run_once: options.limits.max_requests == 1,
        header_map: options.requests.header_map,
    }
}

fn said(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("{error}")
}
