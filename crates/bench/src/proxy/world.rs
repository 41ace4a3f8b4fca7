//! Egress with a policy of a measurement's own, and connections to it over TCP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Result;
use async_trait::async_trait;
use egress::{
    Admission, Audit, Authority, ClientId, Config, CredentialError, Credentials, Egress, Estimate,
    HostPort, Policies, Policy, Record, Resolver, Secret, Slot, Standing, Traffic, UsageSink,
    Windows,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The proxy on a port of its own. Dropping it ends it.
pub struct Proxy {
    pub addr: SocketAddr,
    pub authority: Arc<Authority>,
    _tasks: JoinSet<()>,
}

/// Egress by this policy. Hosts on loopback may be reached as these names.
pub fn egress(policy: Policy, private: Vec<HostPort>, authorities: String) -> Result<Egress> {
    let mut config = Config::new("http://127.0.0.1:9".parse()?, Slot("model".into()));
    config.operator.private_hosts = private;
    config.authorities = authorities;
    let world = Arc::new(World {
        policy: watch::Sender::new(Arc::new(policy)),
        traffic: Arc::default(),
    });
    let windows = Windows {
        policies: world.clone(),
        credentials: world.clone(),
        usage: world.clone(),
        audit: world,
        resolver: Arc::new(Loopback),
        clock: SystemTime::now,
    };
    Ok(Egress::new(config, windows)?)
}

/// Every name is on loopback.
struct Loopback;

#[async_trait]
impl Resolver for Loopback {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }
}

/// Serves the proxy by this policy.
pub async fn proxy(policy: Policy, private: Vec<HostPort>, authorities: String) -> Result<Proxy> {
    let egress = egress(policy, private, authorities)?;
    let authority = Arc::new(Authority::new()?);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let addr = listener.local_addr()?;
    let mut tasks = JoinSet::new();
    let signs = authority.clone();
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            while open.try_join_next().is_some() {}
            let _ = stream.set_nodelay(true);
            let (egress, authority) = (egress.clone(), signs.clone());
            let client = ClientId("bench".to_owned());
            open.spawn(async move { egress.serve_proxy(client, authority, stream).await });
        }
    });
    Ok(Proxy {
        addr,
        authority,
        _tasks: tasks,
    })
}

struct World {
    policy: watch::Sender<Arc<Policy>>,
    traffic: Arc<Traffic>,
}

impl Policies for World {
    fn of(&self, _: &ClientId) -> Option<Standing> {
        Some(Standing {
            policy: self.policy.subscribe(),
            traffic: self.traffic.clone(),
            owner: Arc::default(),
        })
    }
}

impl Audit for World {
    fn record(&self, _: Record) {}
}

#[async_trait]
impl Credentials for World {
    async fn resolve(&self, _: &Slot) -> Result<Secret, CredentialError> {
        Err(CredentialError::Missing)
    }
}

#[async_trait]
impl UsageSink for World {
    fn payer(&self, _: &ClientId) -> Option<Arc<str>> {
        None
    }

    async fn reserve(&self, _: Estimate) -> Admission {
        Admission::Refuse {
            status: 403,
            error_type: "permission_error",
            message: "there is no model here".to_owned(),
        }
    }
}
