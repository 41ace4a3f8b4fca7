//! Events, from the call that appends them to their arrival at readers of the stream.
//!
//! The whole server takes part: a stand-in for claude speaks in each sandbox, its words go through
//! the link, the actor, the log and the feed to readers on sockets. An event says when the server
//! appended it (`processed_at`, taken right before the commit); readers compare that with the same
//! clock. So the time contains the commit: it is longer than from a durable event to its readers.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use chrono::DateTime;
use memchr::memmem;
use tokio::task::JoinSet;

use crate::Setting;
use crate::hosted::{Hosted, Session, myself};
use crate::http::Stream;
use crate::quiet::quiet;
use crate::row::{Bound, Row};

/// How events and readers are spread.
struct Load {
    sessions: usize,
    /// Events a second, in all.
    rate: usize,
    /// Readers, in all.
    readers: usize,
    /// Seconds.
    length: usize,
}

const SPREAD: Load = Load {
    sessions: 10,
    rate: 1000,
    readers: 100,
    length: 10,
};
const FOCUSED: Load = Load {
    sessions: 1,
    rate: 1000,
    readers: 100,
    length: 5,
};
/// Of each reader's events, those that come while everything begins.
const BEGIN: usize = 50;

/// Measures the load that is promised, and one on a single session for orientation.
pub async fn run(setting: &Setting) -> Result<Vec<Row>> {
    let hosted = Hosted::start(&setting.hostel, &myself()?, "http://127.0.0.1:9").await?;
    quiet().await?;
    let spread = load(&hosted, &SPREAD).await?;
    let focused = load(&hosted, &FOCUSED).await?;
    hosted.stop().await?;
    Ok(vec![
        Row::times(
            "event appended → read, 1,000/s of 10 sessions, 100 readers",
            &spread,
            &[Bound::Median(2.0), Bound::P99(10.0)],
        ),
        Row::times(
            "event appended → read, 1,000/s of 1 session, 100 readers",
            &focused,
            &[],
        ),
    ])
}

async fn load(hosted: &Hosted, load: &Load) -> Result<Vec<Duration>> {
    let count = load.rate * load.length / load.sessions;
    let mut readers = JoinSet::new();
    let mut sessions: Vec<Session> = Vec::new();
    for _ in 0..load.sessions {
        let session = hosted.session(None).await?;
        for _ in 0..load.readers / load.sessions {
            readers.spawn(read(session.stream().await?, count));
        }
        sessions.push(session);
    }
    for session in &sessions {
        session
            .say(&format!("{} {count}", load.rate / load.sessions))
            .await?;
    }
    let mut times = Vec::new();
    for read in readers.join_all().await {
        times.extend(read?);
    }
    for session in sessions {
        session.rest().await?;
        session.delete().await?;
    }
    hosted.empty().await?;
    Ok(times)
}

/// Reads so many events and gives how old each was, but for the first.
async fn read(mut stream: Stream, count: usize) -> Result<Vec<Duration>> {
    let (end, of_claude, time) = (
        memmem::Finder::new(b"\n\n"),
        memmem::Finder::new(b"event: agent.message\n"),
        memmem::Finder::new(b"\"processed_at\":\""),
    );
    let (mut bytes, mut ages) = (Vec::new(), Vec::with_capacity(count));
    while ages.len() < count {
        stream.more(&mut bytes).await?;
        let now = SystemTime::now();
        let mut done = 0;
        while let Some(length) = end.find(&bytes[done..]) {
            let frame = &bytes[done..done + length];
            done += length + 2;
            if of_claude.find(frame).is_some() {
                let at = time.find(frame).context("an event without its time")? + 16;
                let text = std::str::from_utf8(&frame[at..at + 27])?;
                let appended = SystemTime::from(DateTime::parse_from_rfc3339(text)?);
                ages.push(now.duration_since(appended).unwrap_or_default());
            }
        }
        bytes.drain(..done);
    }
    Ok(ages.split_off(BEGIN.min(count)))
}
