//! Claude as a process of a sandbox: started by order, fed with lines, read to its end, started again.

use std::time::Duration;

use bytes::Bytes;
use claude::frame::Frame;
use claude::lines::{Line, Lines};
use sandbox::guest_channel::{
    Exit, Guest, LinkError, Output, ProcessInput, ProcessOutput, ProcessSpec, SpawnError,
};
use tokio::sync::mpsc;

use super::{Ended, News, Order, Start};
use crate::session::place;

/// How much of claude's standard error is kept for the message that says why it ended.
const STDERR_TAIL: usize = 4096;

/// Why a claude is no longer followed.
enum Over {
    /// It ended by itself, or could not be started.
    Claude(Ended),
    /// Its sandbox ended.
    Sandbox(Ended),
    /// It was to end, perhaps for another.
    Ordered(Option<Box<Start>>),
}

/// Follows orders until the link ends or nobody gives any more; then the sandbox is done with.
pub async fn follow(
    guest: &Guest,
    mut orders: mpsc::Receiver<Order>,
    news: &mpsc::Sender<News>,
) -> Ended {
    let mut next = None;
    loop {
        let start = match next.take() {
            Some(start) => start,
            None => match orders.recv().await {
                Some(Order::Start(start)) => start,
                // A line for a claude that has ended is no use to the next one: the actor writes anew.
                Some(Order::Line(_) | Order::End) => continue,
                None => return Ended::new("it was stopped", false),
            },
        };
        match claude(guest, *start, &mut orders, news).await {
            Over::Ordered(another) => next = another,
            Over::Sandbox(ended) => return ended,
            Over::Claude(ended) => {
                if news.send(News::ClaudeEnded(ended)).await.is_err() {
                    return Ended::new("it was stopped", false);
                }
            }
        }
    }
}

/// Starts claude and follows it to its end.
async fn claude(
    guest: &Guest,
    start: Start,
    orders: &mut mpsc::Receiver<Order>,
    news: &mpsc::Sender<News>,
) -> Over {
    let first_word = start.first_word;
    match spawn(guest, start).await {
        Err(over) => over,
        Ok((input, output)) => tokio::select! {
            over = read(output, news, first_word) => over,
            another = write(input, orders) => Over::Ordered(another),
        },
    }
}

async fn spawn(guest: &Guest, start: Start) -> Result<(ProcessInput, ProcessOutput), Over> {
    let Start {
        launch, transcript, ..
    } = start;
    if let Some(tar) = transcript {
        let tar = std::io::Cursor::new(tar);
        let unpacked = guest.unpack(place::HOME, None, tar).await;
        unpacked.map_err(|error| failed("bring the transcript back", error))?;
    }
    let cwd = launch.paths.cwd.to_string_lossy().into_owned();
    let (argv, env) = (launch.argv(), launch.env());
    let process = guest
        .spawn(ProcessSpec {
            argv,
            env,
            cwd,
            terminal: None,
            user: None,
        })
        .await;
    let process = process.map_err(|error| match error {
        SpawnError::Link(error) => failed("start claude", error),
        SpawnError::Refused(_) => Over::Claude(Ended::step("start claude", &error, false)),
    })?;
    let (input, output) = process.split();
    // A claude that does not take its first line says why as it ends.
    let _ = input.write(&launch.initialize("initialize")).await;
    Ok((input, output))
}

/// A step over the link that failed: when the link itself ended, so did the sandbox.
fn failed(step: &str, error: LinkError) -> Over {
    match error {
        LinkError::Ended => Over::Sandbox(Ended::new("the sandbox ended", true)),
        error => Over::Claude(Ended::step(step, &error, true)),
    }
}

/// Writes what is ordered; ends when claude is to end.
async fn write(input: ProcessInput, orders: &mut mpsc::Receiver<Order>) -> Option<Box<Start>> {
    let another = loop {
        match orders.recv().await {
            Some(Order::Line(line)) => {
                if input.write(&line).await.is_err() {
                    // Claude no longer reads. Its output says why, so that is what ends it.
                    std::future::pending::<()>().await;
                }
            }
            Some(Order::Start(start)) => break Some(start),
            Some(Order::End) | None => break None,
        }
    };
    // Dropping both halves afterwards kills what is left of the tree.
    let _ = input.kill_tree().await;
    another
}

/// Reads claude's lines to their end.
async fn read(mut output: ProcessOutput, news: &mpsc::Sender<News>, first_word: Duration) -> Over {
    let mut lines = Lines::default();
    let mut stderr = Tail::default();
    let mut ready = false;
    let ready_by = tokio::time::Instant::now() + first_word;
    loop {
        let next = if ready {
            output.next().await
        } else {
            match tokio::time::timeout_at(ready_by, output.next()).await {
                Ok(next) => next,
                Err(_) => return Over::Claude(mute(first_word, &stderr)),
            }
        };
        match next {
            Ok(Some(Output::Stdout(bytes))) => {
                lines.push(bytes);
                while let Some(line) = lines.next_line() {
                    let Some(item) = item(line) else { continue };
                    ready |= matches!(item, News::Frame(_));
                    if news.send(item).await.is_err() {
                        return Over::Ordered(None);
                    }
                }
            }
            Ok(Some(Output::Stderr(bytes))) => stderr.push(&bytes),
            Ok(Some(Output::Exit(exit))) => return Over::Claude(exited(exit, &stderr, ready)),
            Ok(None) => return Over::Sandbox(Ended::new("the sandbox ended", true)),
            Err(error) => return failed("read from claude", error),
        }
    }
}

fn mute(first_word: Duration, stderr: &Tail) -> Ended {
    let why = format!(
        "claude said nothing for {:.1} s{}",
        first_word.as_secs_f64(),
        stderr.quoted()
    );
    Ended::new(why, true)
}

fn item(line: Line) -> Option<News> {
    match line {
        Line::Json(bytes) => frame(&bytes),
        Line::Garbage { excerpt, length } => {
            tracing::warn!("claude wrote {length} bytes that are not JSON: {excerpt}");
            None
        }
        Line::TooLong { limit } => Some(News::Limit(format!(
            "claude wrote a line of more than {} MiB; it was dropped",
            limit >> 20
        ))),
    }
}

fn frame(bytes: &Bytes) -> Option<News> {
    match Frame::parse(bytes) {
        Ok(frame) => Some(News::Frame(Box::new(frame))),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "claude wrote {} bytes that are no frame",
                bytes.len()
            );
            None
        }
    }
}

fn exited(exit: Exit, stderr: &Tail, ready: bool) -> Ended {
    let how = match (exit.code, exit.signal) {
        (_, Some(signal)) => format!("claude was killed by signal {signal}"),
        (Some(code), None) => format!("claude exited with status {code}"),
        (None, None) => "claude ended".to_owned(),
    };
    // A claude that ends before it ever said anything does so again: a bad flag, a bad binary.
    let again = ready || exit.signal.is_some();
    let when = if ready { "" } else { " before it was ready" };
    Ended::new(format!("{how}{when}{}", stderr.quoted()), again)
}

/// The last bytes of a stream.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0
            .extend_from_slice(&bytes[bytes.len().saturating_sub(STDERR_TAIL)..]);
        let excess = self.0.len().saturating_sub(STDERR_TAIL);
        self.0.drain(..excess);
    }

    /// `; it said: …`, or nothing.
    fn quoted(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        match text.trim() {
            "" => String::new(),
            text => format!("; it said: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_keeps_the_end() {
        let mut tail = Tail::default();
        tail.push(&[b'a'; STDERR_TAIL]);
        tail.push(b"the end\n");
        assert_eq!(tail.0.len(), STDERR_TAIL);
        assert!(tail.quoted().ends_with("athe end"));
    }

    #[test]
    fn an_early_exit_is_not_tried_again_but_a_kill_is() {
        let status = |code, signal, ready| exited(Exit { code, signal }, &Tail::default(), ready);
        assert!(!status(Some(1), None, false).again);
        assert!(status(Some(1), None, true).again);
        assert!(status(None, Some(9), false).again);
        assert_eq!(
            status(None, Some(9), true).why,
            "claude was killed by signal 9"
        );
    }

    #[test]
    fn lines_become_news() {
        assert!(matches!(
            item(Line::Json(Bytes::from_static(b"{\"type\":\"keep_alive\"}"))),
            Some(News::Frame(_))
        ));
        assert!(item(Line::Json(Bytes::from_static(b"{broken"))).is_none());
        assert!(
            item(Line::Garbage {
                excerpt: "x".into(),
                length: 1
            })
            .is_none()
        );
        assert!(matches!(
            item(Line::TooLong { limit: 1 << 26 }),
            Some(News::Limit(_))
        ));
    }
}
