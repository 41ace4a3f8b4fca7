//! File trees out and in again: what a session's sandbox leaves behind, and what the next one
//! begins with.
//!
//! ```text
//! save:    files ──walk──▶ frames ──queue──▶ stream        (save.rs, known.rs, mapped.rs)
//! restore: stream ──queue──▶ frames ──make──▶ files        (restore.rs)
//! ```
//!
//! Files are read and written on a thread of its own, joined to the stream by a short queue: the
//! slower side makes the other wait. Nothing here follows a symbolic link, and nothing of a tree
//! is kept in memory but one number for each directory.

mod chain;
mod known;
mod mapped;
pub mod restore;
mod save;

use bytes::{Bytes, BytesMut};
use protocol::{ErrorCode, Frame as _, Opened, Refusal, TreeEnd, TreeFrame, User};
use tokio::sync::{mpsc, oneshot};

pub use known::Known;

use crate::{
    identity::as_user,
    serve::{failed, refuse},
    wire::Stream,
};

/// Pieces between the stream and the files.
const QUEUE: usize = 4;

/// Bytes of one piece.
const PIECE: usize = 64 * 1024;

/// Sends the trees below some directories, as a user sees them if one is named.
pub async fn save(
    known: &Known,
    mut stream: Stream,
    roots: Vec<String>,
    since_ns: i64,
    user: Option<User>,
) {
    let roots = match sorted(roots) {
        Ok(roots) => roots,
        Err(refusal) => return refuse(stream, refusal).await,
    };
    if stream.answer(&Opened::Ok).await.is_err() {
        return;
    }
    let (pieces, mut queue) = mpsc::channel(QUEUE);
    let (last, next) = (known.at(since_ns, &roots), known.begin(&roots));
    let work = move || {
        let walk = || save::save(next, last.as_deref(), pieces);
        as_user(user.as_ref(), walk).unwrap_or_else(stranger)
    };
    let worker = tokio::task::spawn_blocking(work);
    while let Some(bytes) = queue.recv().await {
        if stream.send(&bytes).await.is_err() {
            // Dropping the queue ends the worker at its next piece.
            return;
        }
    }
    let saved = worker
        .await
        .unwrap_or_else(|error| Err(failed(format!("saving: {error}"))));
    conclude(stream, saved.map(|(end, moment)| known.keep(moment, end))).await;
}

/// Makes the trees that come, as a user if one is named.
pub async fn restore(known: &Known, mut stream: Stream, roots: Vec<String>, user: Option<User>) {
    let roots = match sorted(roots) {
        Ok(roots) => roots,
        Err(refusal) => return refuse(stream, refusal).await,
    };
    if stream.answer(&Opened::Ok).await.is_err() {
        return;
    }
    let (pieces, queue) = mpsc::channel(QUEUE);
    let (marked, mark) = oneshot::channel();
    let mut mark = Some(mark);
    let next = known.begin(&roots);
    let work = move || {
        let make = || restore::restore(next, queue, marked);
        as_user(user.as_ref(), make).unwrap_or_else(stranger)
    };
    let mut worker = tokio::task::spawn_blocking(work);
    let restored = loop {
        let mut piece = BytesMut::with_capacity(PIECE);
        tokio::select! {
            // It has seen the end, or cannot go on.
            ended = &mut worker => break ended,
            () = reached(&mut mark) => {
                let mut frame = BytesMut::new();
                TreeFrame::Mark.encode(&mut frame);
                // A host that is gone is seen when the next piece is missing.
                let _ = stream.send(&frame).await;
            }
            read = stream.receive(&mut piece) => match read {
                Ok(1..) => {
                    // The worker stops listening when it is done, and the next turn sees why.
                    let _ = pieces.send(piece.freeze()).await;
                }
                // The host gave up; what is half made must not pass for whole.
                Ok(0) | Err(_) => {
                    drop(pieces);
                    break worker.await;
                }
            },
        }
    };
    let restored = restored.unwrap_or_else(|error| Err(failed(format!("restoring: {error}"))));
    let keep = |(end, mut moment)| {
        // What was made until now is not changed since.
        known.stamp(&mut moment);
        known.keep(moment, end)
    };
    conclude(stream, restored.map(keep)).await;
}

/// Resolves once, when the files up to the mark are made.
async fn reached(mark: &mut Option<oneshot::Receiver<()>>) {
    let reached = match mark {
        Some(mark) => mark.await.is_ok(),
        None => false,
    };
    *mark = None;
    if !reached {
        std::future::pending::<()>().await;
    }
}

async fn conclude(mut stream: Stream, result: Result<TreeEnd, Refusal>) {
    let mut frame = BytesMut::new();
    match result {
        Ok(end) => TreeFrame::End(end),
        Err(refusal) => TreeFrame::Failed(refusal),
    }
    .encode(&mut frame);
    if stream.send(&frame).await.is_ok() {
        stream.finish().await;
    }
}

/// The roots as paths of entries, in the order of trees; one inside another is part of it.
fn sorted(roots: Vec<String>) -> Result<Vec<Bytes>, Refusal> {
    let mut sorted = Vec::new();
    for root in roots {
        let path = root.strip_prefix('/').map(str::as_bytes);
        match path.filter(|path| protocol::is_tree_path(path)) {
            Some(path) => sorted.push(Bytes::copy_from_slice(path)),
            None => {
                let message = format!("{root} is not an absolute path without dots");
                return Err(Refusal::new(ErrorCode::BadDirectory, message));
            }
        }
    }
    sorted.sort_unstable_by(|a, b| protocol::order((a, true), (b, true)));
    sorted.dedup_by(|inner, outer| is_below(inner, outer));
    Ok(sorted)
}

/// Whether a path is another or leads through it.
fn is_below(path: &[u8], root: &[u8]) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'))
}

/// The thread could not take the user's identity.
fn stranger<T>(error: std::io::Error) -> Result<T, Refusal> {
    Err(failed(format!("acting as the user: {error}")))
}

/// A refusal for a step on a path.
fn step(what: &str, path: &[u8], error: impl std::fmt::Display) -> Refusal {
    failed(format!("{what} /{}: {error}", path.escape_ascii()))
}
