//! What the proxy of the way out costs: a tunnel's throughput, a request whose TLS ends in egress,
//! requests beside a proxy that comes as a Debian package, a connection of a program that knows no proxy,
//! and a decision among 1,000 rules.

mod by_name;
mod decision;
mod hosts;
mod rates;
mod secured;
mod tunnel;
mod world;

use anyhow::{Context, Result};

use crate::Setting;
use crate::row::Row;

pub use rates::serve;

/// Measures all of it.
pub async fn run(setting: &Setting) -> Result<Vec<Row>> {
    let mut rows = vec![
        tunnel::run(setting).await.context("the tunnel")?,
        secured::run(setting)
            .await
            .context("the request with TLS")?,
        rates::run(setting).await.context("the rates")?,
    ];
    let by_name = by_name::run(setting).await;
    rows.push(by_name.context("the connection by name")?);
    rows.push(decision::run(setting)?);
    Ok(rows)
}
