//! What many ephemeral sessions in a row leave behind: nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::Setting;
use crate::hosted::Hosted;
use crate::kernel::{descendants, pss, server_groups};
use crate::row::{Bound, Row};
use crate::turn::{TEXT, World};

/// How many; a run of few rounds makes fewer, [`EACH`] for a round.
const COUNT: usize = 200;
const EACH: usize = 10;
/// The first ones fill caches.
const WARM_UP: usize = 20;
/// Memory and connections settle some time after work.
const SETTLE: Duration = Duration::from_secs(5);
/// What memory that is flat may grow by, in MB: the allocator gives back in pieces.
const FLAT: f64 = 1.0;

/// Counts before and after.
pub async fn run(setting: &Setting) -> Result<Vec<Row>> {
    let count = COUNT.min(setting.rounds * EACH);
    let world = World::start(setting).await?;
    let hosting = json!({"pattern": "ephemeral"});
    let environment = world.hosted.hosting(&hosting).await?;
    let groups = groups(&world.hosted).await?;
    for _ in 0..WARM_UP {
        task(&world.hosted, &environment).await?;
    }
    let before = Census::take(&world.hosted, &groups).await?;
    for _ in 0..count {
        task(&world.hosted, &environment).await?;
    }
    let after = Census::take(&world.hosted, &groups).await?;
    world.stop().await?;
    let left = |what: &str, of: fn(&Census) -> usize| {
        let what = format!("{count} ephemeral sessions: {what} left");
        let more = of(&after) as f64 - of(&before) as f64;
        Row::number(&what, "", more, &[Bound::Median(0.0)])
    };
    let grown = (after.memory as f64 - before.memory as f64) / 1e6;
    let what = format!("{count} ephemeral sessions: growth of the server's memory");
    Ok(vec![
        left("processes", |census| census.processes),
        left("mounts", |census| census.mounts),
        left("control groups", |census| census.groups),
        left("sockets and other descriptors", |census| census.descriptors),
        left("files", |census| census.files),
        Row::number(&what, "MB", grown, &[Bound::Median(FLAT)]),
    ])
}

async fn task(hosted: &Hosted, environment: &str) -> Result<()> {
    let session = hosted.session_in(environment, Some(TEXT)).await?;
    session.becomes("terminated").await
}

/// The control groups of this server, which are known by a sandbox that lives.
async fn groups(hosted: &Hosted) -> Result<Vec<PathBuf>> {
    let session = hosted.session(Some(TEXT)).await?;
    session.rest().await?;
    let groups = server_groups(hosted.guest().context("no sandbox")?);
    session.delete().await?;
    hosted.empty().await?;
    Ok(groups)
}

/// What there is of everything.
struct Census {
    processes: usize,
    mounts: usize,
    groups: usize,
    descriptors: usize,
    files: usize,
    memory: u64,
}

impl Census {
    async fn take(hosted: &Hosted, groups: &[PathBuf]) -> Result<Census> {
        hosted.empty().await?;
        tokio::time::sleep(SETTLE).await;
        let server = hosted.pid()?;
        let mounts = |pid: &str| -> Result<usize> {
            let text = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
            Ok(text.lines().count())
        };
        let groups: Vec<PathBuf> = groups.iter().flat_map(|group| below(group)).collect();
        let in_groups = groups.iter().map(|group| {
            let members = fs::read_to_string(group.join("cgroup.procs"));
            members.map_or(0, |members| members.lines().count())
        });
        Ok(Census {
            processes: descendants(server).len() + in_groups.sum::<usize>(),
            mounts: mounts("self")? + mounts(&server.to_string())?,
            groups: groups.iter().filter(|path| path.is_dir()).count(),
            descriptors: fs::read_dir(format!("/proc/{server}/fd"))?.count(),
            files: below(hosted.data()).len(),
            memory: pss(server)?,
        })
    }
}

/// Every file and directory below one.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(below(&entry.path()));
        }
        found.push(entry.path());
    }
    found
}
