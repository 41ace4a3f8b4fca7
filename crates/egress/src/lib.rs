//! The way out of a sandbox: decide, inject, forward, meter.
//!
//! A sandbox has no network but loopback. What it says to the model API or to
//! its proxy arrives here as a plain byte stream together with a [`ClientId`],
//! which the caller knows from the link the stream came over. There are two
//! ways:
//!
//! - [`Egress::serve_model`]: HTTP/1.1 to the model API. The real key is put in
//!   here, the answer is streamed back untouched, and its tokens are counted.
//! - [`Egress::serve_proxy`]: an HTTP proxy (`CONNECT` and absolute-form `http`)
//!   to whatever the [`Policy`] of the client allows; and [`Egress::serve_name`], the
//!   same for programs that know no proxy. What may be asked there at all
//!   is tunnelled unread; where it depends on the request, or gets a credential,
//!   TLS ends here, with a certificate of the sandbox's own [`Authority`].
//!
//! The crate sees the world through the traits of [`windows`] alone, so it runs
//! the same inside the server, alone, or in a test. It never believes what a
//! client says about itself, never follows a redirect, never logs a body or a
//! credential, and never reads TLS of a host that may be asked anything.

#![deny(missing_docs)]

mod model;
mod proxy;

mod answer;
mod attempts;
mod audit;
mod decide;
mod forward;
#[cfg(test)]
mod fuzz;
mod head;
mod idle;
mod inject;
mod meter;
mod pace;
mod path;
mod traffic;
mod turnstile;

mod address;
mod bound;
mod config;
mod connect;
mod errand;
mod policy;
mod prices;
mod replace;
mod scan;
mod secret;
mod tls;
mod usage;
pub mod windows;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub use crate::attempts::Stray;
pub use crate::audit::Record;
pub use crate::bound::{Binding, Hosts, Put};
pub use crate::config::{Config, ConfigError, KeyHeader};
pub use crate::decide::{Verdict, decide};
pub use crate::errand::{Answered, ErrandError, Errands};
pub use crate::policy::{
    HostPattern, HostPort, Limits, Networking, Operator, ParseHostError, ParsePathError,
    PathPattern, Policy, Rule, Target,
};
pub use crate::prices::{Prices, PricesError};
pub use crate::replace::without;
pub use crate::secret::{CredentialError, Placeholder, Secret, Slot};
pub use crate::tls::{Authority, AuthorityError};
pub use crate::traffic::Traffic;
pub use crate::usage::{Admission, ClientId, Estimate, Microcents, Reservation, Tokens, Usage};
pub use crate::windows::{
    Audit, Credentials, Owner, Policies, Resolver, Standing, SystemResolver, UsageSink, Windows,
};

/// The way out. Cheap to clone; all clones share one upstream connection pool
/// and the bounds per client.
#[derive(Clone)]
pub struct Egress {
    model: Arc<model::ModelWay>,
    proxy: Arc<proxy::ProxyWay>,
}

impl Egress {
    /// Wires the way out. Opens no connection.
    ///
    /// # Errors
    /// When the upstream is not an absolute `http` or `https` address without
    /// credentials in it, the host's root certificates cannot be read, or the
    /// operator's are not certificates.
    pub fn new(config: Config, windows: Windows) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            proxy: Arc::new(proxy::ProxyWay::new(&config, &windows)?),
            model: Arc::new(model::ModelWay::new(config, windows)?),
        })
    }

    /// Serves one connection of `client` to the model API until either side
    /// ends it. Dropping the future cuts the connection and whatever it had
    /// under way upstream.
    ///
    /// With `key`, requests that do not show exactly this placeholder are
    /// refused with a 401: several seats may share one loopback, where each can
    /// reach the others' ports. `None` serves whoever comes.
    pub async fn serve_model<I>(&self, client: ClientId, key: Option<Placeholder>, io: I)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        model::serve(Arc::clone(&self.model), client, key, io).await;
    }

    /// Serves one connection of `client` to its proxy until either side ends
    /// it. Dropping the future cuts both sides. Where TLS ends here, `authority`
    /// signs for the host: the sandbox must trust it.
    pub async fn serve_proxy<I>(&self, client: ClientId, authority: Arc<Authority>, io: I)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let way = Arc::clone(&self.proxy);
        let visit = proxy::Visit {
            way,
            client,
            authority,
        };
        proxy::serve(visit, None, io).await;
    }

    /// Serves one connection that a program of `client` made to a name, by itself, as if it had asked
    /// its proxy for it. Dropping the future cuts both sides. An address is no name and is refused.
    pub async fn serve_name<I>(
        &self,
        client: ClientId,
        authority: Arc<Authority>,
        name: &str,
        port: u16,
        io: I,
    ) where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let target = Target::new(name, port)
            .ok()
            .filter(|name| name.ip.is_none());
        let Some(target) = target else {
            return;
        };
        let way = Arc::clone(&self.proxy);
        let visit = proxy::Visit {
            way,
            client,
            authority,
        };
        proxy::serve(visit, Some(target), io).await;
    }

    /// A program of `client` asks for a record of a name, of this type: the ports on which the name may
    /// be reached, or `None`. Nobody is asked what it stands for before it is connected to, so asking
    /// tells nobody anything. What is refused is recorded; see [`Egress::keep_attempts`].
    #[must_use]
    pub fn name(&self, client: &ClientId, name: &str, kind: u16) -> Option<Vec<u16>> {
        self.proxy.name(client, name, kind)
    }

    /// Programs of `client` sent this elsewhere than by the ways out, and it was refused: it is
    /// recorded. `more` packets went elsewhere still.
    pub fn strays(&self, client: &ClientId, strays: &[Stray], more: u64) {
        self.proxy.strays(client, strays, more);
    }

    /// Records what was refused without a connection, some seconds after it was. Never ends by itself;
    /// without it such records are made when the last clone is dropped.
    pub async fn keep_attempts(&self) {
        self.proxy.attempts.keep().await;
    }

    /// Records now what [`Egress::keep_attempts`] would record later.
    pub fn flush_attempts(&self) {
        self.proxy.attempts.flush();
    }

    /// Whom programs in a sandbox shall trust, in PEM: whom this machine and the
    /// operator trust, and `authority`.
    pub async fn trusted(&self, authority: &Authority) -> String {
        let outside = self.proxy.trust.bundle().await;
        format!("{outside}{}", authority.certificate())
    }

    /// The same as a key store of Java's (JKS, with the password `changeit`, which none needs to read it).
    pub async fn trusted_by_java(&self, authority: &Authority) -> Vec<u8> {
        self.proxy.trust.java(authority.der()).await
    }

    /// Those among them that a program with a list of its own does not know, in PEM.
    #[must_use]
    pub fn unknown(&self, authority: &Authority) -> String {
        let extra = self.proxy.trust.extra();
        format!("{extra}{}", authority.certificate())
    }
}
