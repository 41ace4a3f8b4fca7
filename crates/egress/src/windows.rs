//! The crate's windows on the world: what it asks for instead of knowing.
//!
//! None of them may block its thread: they are called on the path of every request.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::audit::{Record, Spent};
use crate::policy::Policy;
use crate::secret::{CredentialError, Secret, Slot};
use crate::traffic::Traffic;
use crate::usage::{Admission, ClientId, Estimate};

/// Which policy holds for a client.
pub trait Policies: Send + Sync {
    /// What holds for `client`, or `None` when it is not (or no longer) known;
    /// then everything is refused.
    fn of(&self, client: &ClientId) -> Option<Standing>;
}

/// What holds for a client, and what it has used.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Its policy. A new one holds at once: what is under way and no longer allowed is cut.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// What it has under way and has used.
    pub traffic: Arc<Traffic>,
    /// Whose it is.
    pub owner: Arc<Owner>,
}

/// Whose a client is: of no meaning here, and handed on to its records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    /// The workspace.
    pub workspace: String,
    /// The environment.
    pub environment: String,
}

impl Standing {
    /// The policy that holds now.
    pub(crate) fn now(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.borrow())
    }

    /// The limit on bytes that has been reached.
    pub(crate) fn spent(&self) -> Option<Spent> {
        let policy = self.policy.borrow();
        let limits = &policy.limits;
        if limits.bytes_in.is_none() && limits.bytes_out.is_none() {
            return None;
        }
        let (came, went) = self.traffic.used();
        if limits.bytes_in.is_some_and(|limit| came >= limit) {
            return Some(Spent("limits.bytes_in"));
        }
        let out = limits.bytes_out.is_some_and(|limit| went >= limit);
        out.then_some(Spent("limits.bytes_out"))
    }
}

/// Who is told what was decided.
pub trait Audit: Send + Sync {
    /// Takes the record of one decision when what was decided about has ended. Called exactly once
    /// for each, possibly from a destructor: it must not block.
    fn record(&self, record: Record);
}

/// Where real credentials come from.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// The secret behind a slot, asked for again at every request so that a
    /// rotated key takes effect at once.
    ///
    /// # Errors
    /// When the slot is empty or its store cannot be reached.
    async fn resolve(&self, slot: &Slot) -> Result<Secret, CredentialError>;

    /// The same for a request of `client` that is about to be sent: one that would end in a moment is renewed
    /// first.
    ///
    /// # Errors
    /// When the slot is empty, its store cannot be reached, or it has ended and cannot be renewed.
    async fn fresh(&self, client: &ClientId, slot: &Slot) -> Result<Secret, CredentialError> {
        let _ = client;
        self.resolve(slot).await
    }

    /// Another one than `refused`, which a host answered with 401 to a request of `client`; `None` when
    /// there is nothing to renew it with.
    ///
    /// # Errors
    /// When it should have been renewed and could not.
    async fn renewed(
        &self,
        client: &ClientId,
        slot: &Slot,
        refused: &Secret,
    ) -> Result<Option<Secret>, CredentialError> {
        let _ = (client, slot, refused);
        Ok(None)
    }
}

/// Who keeps the books: sets money aside before a call, and is told what it used.
#[async_trait]
pub trait UsageSink: Send + Sync {
    /// Who pays for `client`: calls of one payer share what upstream's rate limit
    /// gives. `None` when the client is not known.
    fn payer(&self, client: &ClientId) -> Option<Arc<str>>;

    /// Whether one more call may be made now (budgets). It may wait for calls
    /// under way whose end decides; its future is dropped when the client leaves.
    async fn reserve(&self, call: Estimate) -> Admission;
}

/// How a name becomes addresses. The proxy dials an address of this answer and
/// never resolves a second time.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// All addresses of `host`.
    ///
    /// # Errors
    /// When the name does not exist or the resolver cannot be reached.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The host's own resolver.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((host, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// The windows together, as [`Egress::new`](crate::Egress::new) takes them.
#[derive(Clone)]
pub struct Windows {
    /// Policies by client.
    pub policies: Arc<dyn Policies>,
    /// Credentials by slot.
    pub credentials: Arc<dyn Credentials>,
    /// Usage and budgets.
    pub usage: Arc<dyn UsageSink>,
    /// Names of hosts the proxy dials.
    pub resolver: Arc<dyn Resolver>,
    /// The proxy's decisions.
    pub audit: Arc<dyn Audit>,
    /// The wall clock of usage records; durations are measured monotonically.
    pub clock: fn() -> SystemTime,
}
