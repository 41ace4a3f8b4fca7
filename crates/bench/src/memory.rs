//! How much memory an idle server with one session has, and what stands beside claude in its
//! sandbox: as `smaps_rollup` counts it, shared pages by their share.

use std::time::Duration;

use anyhow::{Context, Result};
use model::{Model, Options};

use crate::Setting;
use crate::hosted::Hosted;
use crate::kernel::{descendants, pss, words};
use crate::row::{Bound, Row};

/// What is asked before.
const TEXT: &str = "@say Hello from the model.";
/// Idle is some time after the answer.
const SETTLE: Duration = Duration::from_secs(3);

/// Measures after one turn.
pub async fn run(setting: &Setting) -> Result<Vec<Row>> {
    let model = Model::bind_with(([127, 0, 0, 1], 0).into(), Options::default())
        .await?
        .spawn();
    let hosted = Hosted::start(&setting.hostel, &setting.cli, &model.url()).await?;
    let session = hosted.session(Some(TEXT)).await?;
    let mut stream = session.stream().await?;
    stream.until(b"event: session.status_idle\n").await?;
    drop(stream);
    tokio::time::sleep(SETTLE).await;
    let server = pss(hosted.pid()?)?;
    let guest = hosted.guest().context("no sandbox")?;
    let claude = hosted.claude().await?;
    let mut keeper = 0;
    for pid in descendants(hosted.pid()?) {
        if words(pid, "cmdline")
            .get(1)
            .is_some_and(|word| word == sandbox::keeper::COMMAND)
        {
            keeper += pss(pid)?;
        }
    }
    let mut supervisors = 0;
    for pid in descendants(guest) {
        if words(pid, "cmdline")
            .get(1)
            .is_some_and(|word| word == "supervise")
        {
            supervisors += pss(pid)?;
        }
    }
    let rows = vec![
        Row::size(
            "memory of the server, idle, one session",
            server,
            &[Bound::Median(30.0)],
        ),
        Row::size("memory of its keeper", keeper, &[]),
        Row::size("memory of the guest", pss(guest)?, &[Bound::Median(3.0)]),
        Row::size("memory of claude's supervisor", supervisors, &[]),
        Row::size("memory of claude", pss(claude)?, &[]),
    ];
    session.delete().await?;
    hosted.empty().await?;
    hosted.stop().await?;
    model.stop().await;
    Ok(rows)
}
