//! A server with many saved sessions: what they cost its memory, and how soon it serves again.
//!
//! One session is saved after a turn and then forked over the API, so that each of the many has a log
//! and a snapshot of its own without a sandbox ever having been made for it. A stand-in speaks
//! for claude: what it says matters to nobody here. Of the live sessions half are in the middle of a turn.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::task::JoinSet;

use crate::Setting;
use crate::hosted::{Hosted, Session, myself, until};
use crate::kernel::pss;
use crate::quiet::quiet;
use crate::row::{Bound, Row};

/// How many are saved; a run of few rounds makes fewer, [`EACH`] for a round.
const SAVED: usize = 20_000;
const EACH: usize = 1_000;
/// Forks at once: the store takes those that wait into one commit.
const AT_ONCE: usize = 16;
/// How many are live.
const LIVE: usize = 20;
/// Restarts of each kind.
const RESTARTS: usize = 5;
/// What the stand-in is asked: a word at once, and words for hours.
const SHORT: &str = "1000 1";
const LONG: &str = "1 100000";
/// Memory settles some time after work.
const SETTLE: Duration = Duration::from_secs(5);

/// Measures the memory, then the restarts.
pub async fn run(setting: &Setting) -> Result<Vec<Row>> {
    let count = SAVED.min(setting.rounds * EACH);
    let mut hosted = Hosted::start(&setting.hostel, &myself()?, "http://127.0.0.1:9").await?;
    let soon = hosted.hosting(&json!({"idle_timeout": 1})).await?;
    let first = hosted.session_in(&soon, Some(SHORT)).await?;
    first.rest().await?;
    hosted.empty().await?;
    tokio::time::sleep(SETTLE).await;
    let before = pss(hosted.pid()?)?;
    fork(first, count).await?;
    tokio::time::sleep(SETTLE).await;
    let made = pss(hosted.pid()?)?;
    let mut rows = vec![memory("in the server that made them", count, before, made)];
    hosted.restart(Signal::SIGTERM).await?;
    tokio::time::sleep(SETTLE).await;
    let again = pss(hosted.pid()?)?;
    rows.push(memory("after a restart", count, before, again));
    let (crashed, stopped) = restarts(&mut hosted, setting.rounds.min(RESTARTS)).await?;
    let bound = [Bound::Median(1500.0)];
    let with = format!("{count} saved and {LIVE} live sessions → serving");
    rows.push(Row::times(
        &format!("kill -9 with {with}"),
        &crashed,
        &bound,
    ));
    rows.push(Row::times(
        &format!("restart with {with}"),
        &stopped,
        &bound,
    ));
    hosted.stop().await?;
    Ok(rows)
}

fn memory(when: &str, count: usize, before: u64, after: u64) -> Row {
    let each = (after as f64 - before as f64) / 1024.0 / count as f64;
    let what = format!("memory per saved session, {count} of them, {when}");
    Row::number(&what, "KiB", each, &[Bound::Median(1.0)])
}

async fn fork(session: Session, count: usize) -> Result<()> {
    let session = Arc::new(session);
    let mut tasks: JoinSet<Result<()>> = JoinSet::new();
    for number in 0..AT_ONCE {
        let session = session.clone();
        tasks.spawn(async move {
            for _ in (number..count).step_by(AT_ONCE) {
                session.fork().await?;
            }
            Ok(())
        });
    }
    tasks.join_all().await.into_iter().collect()
}

/// Times of restarts after a crash and after an orderly end.
async fn restarts(hosted: &mut Hosted, rounds: usize) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let mut sessions = Vec::new();
    for number in 0..LIVE {
        let text = if number % 2 == 0 { SHORT } else { LONG };
        sessions.push(hosted.session(Some(text)).await?);
    }
    let (mut crashed, mut stopped) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (signal, times) in [
            (Signal::SIGKILL, &mut crashed),
            (Signal::SIGTERM, &mut stopped),
        ] {
            live(hosted).await?;
            quiet().await?;
            times.push(hosted.restart(signal).await?);
            for (number, session) in sessions.iter_mut().enumerate() {
                session.at(hosted);
                // The others go on by themselves.
                if number % 2 == 0 {
                    session.say(SHORT).await?;
                }
            }
        }
    }
    Ok((crashed, stopped))
}

async fn live(hosted: &Hosted) -> Result<()> {
    until("the live sessions", || {
        (hosted.claudes().len() == LIVE).then_some(())
    })
    .await
}
