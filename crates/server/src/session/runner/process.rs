//! Claude as a process in a seat: started by order, fed with lines, read to its end, put to rest, started
//! again.

use std::time::Duration;

use bytes::Bytes;
use claude::frame::Frame;
use claude::lines::{Line, Lines};
use sandbox::guest_channel::{
    Exit, LinkError, Output, ProcessInput, ProcessOutput, ProcessSpec, SpawnError,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Ended, News, Order, Park, Parked, Start, Surroundings};
use crate::session::fleet::Seat;
use crate::session::start;

/// How much of claude's standard error is kept for the message that says why it ended.
const STDERR_TAIL: usize = 4096;
/// How long an idle claude may take to end when it is told to. It takes 60 ms; after this it is killed.
const EXIT_GRACE: Duration = Duration::from_secs(2);

/// A claude that runs.
pub struct Claude {
    input: ProcessInput,
    reader: Reader,
}

/// What a claude says, and what it said last when it ends.
pub struct Reader {
    output: ProcessOutput,
    lines: Lines,
    stderr: Tail,
    /// Until when it must have said its first word; `None` once it has.
    ready_by: Option<Instant>,
    first_word: Duration,
}

/// Why a claude is no longer followed.
pub enum Over {
    /// It ended by itself, or could not be started.
    Claude(Ended),
    /// Its sandbox ended.
    Sandbox(Ended),
    /// It was to end, perhaps for another.
    Ordered(Option<Box<Start>>),
    /// It was ended because it took too much memory; the seat rests.
    Recycle(Park),
    /// The session gives up its seat.
    Leave,
}

/// Follows orders until the seat is given up or nobody gives any more.
pub async fn follow(
    seat: &mut Seat,
    mut claude: Option<Claude>,
    mut orders: mpsc::Receiver<Order>,
    around: &Surroundings,
) -> Ended {
    loop {
        let over = match claude.take() {
            Some(claude) => run(seat, claude, &mut orders, around).await,
            None => rest(seat, &mut orders, around).await,
        };
        let over = match over {
            Over::Ordered(Some(start)) => match Claude::start(seat, *start, around).await {
                Ok(started) => {
                    claude = Some(started);
                    continue;
                }
                Err(over) => over,
            },
            over => over,
        };
        match over {
            Over::Ordered(_) => {}
            Over::Sandbox(ended) => return ended,
            Over::Claude(ended) => around.tell(News::ClaudeEnded(ended)).await,
            Over::Recycle(order) => {
                let mut parked = park(seat, order, false, around).await;
                parked.recycled = true;
                around.tell(News::Parked(parked)).await;
            }
            Over::Leave => {
                seat.thaw().await;
                let kept = around.keeping.save(seat).await;
                let leaves = kept.is_ok();
                around.tell(News::Left(kept)).await;
                if leaves {
                    return Ended::new("it was saved", false);
                }
            }
        }
    }
}

/// Follows orders while no claude runs.
async fn rest(seat: &mut Seat, orders: &mut mpsc::Receiver<Order>, around: &Surroundings) -> Over {
    loop {
        match orders.recv().await {
            Some(Order::Start(start)) => {
                seat.thaw().await;
                return Over::Ordered(Some(start));
            }
            // A line for a claude that has ended is no use to the next one: the actor writes anew.
            Some(Order::Line(_) | Order::End) => {}
            Some(Order::Park(order)) => {
                let parked = park(seat, order, false, around).await;
                around.tell(News::Parked(parked)).await;
            }
            Some(Order::Reclaim) => seat.reclaim().await,
            Some(Order::Outputs) => give(seat, around).await,
            Some(Order::Leave) => return Over::Leave,
            None => return Over::Sandbox(Ended::new("it was stopped", false)),
        }
    }
}

/// Follows a claude to its end.
async fn run(
    seat: &mut Seat,
    claude: Claude,
    orders: &mut mpsc::Receiver<Order>,
    around: &Surroundings,
) -> Over {
    let Claude { input, mut reader } = claude;
    let mut reading = std::pin::pin!(reader.read(around));
    let over = tokio::select! {
        over = &mut reading => return over,
        over = write(seat, &input, orders, around) => over,
    };
    if matches!(over, Over::Recycle(_) | Over::Leave) {
        // What it appends to its transcript as it ends is kept as well.
        let _ = input.close_stdin().await;
        let _ = timeout(EXIT_GRACE, &mut reading).await;
    }
    // Dropping both halves afterwards kills what is left of the tree.
    let _ = input.kill_tree().await;
    over
}

impl Claude {
    /// Starts claude in a seat, with what is brought back before.
    ///
    /// # Errors
    /// When it or its sandbox cannot do it.
    pub async fn start(seat: &Seat, start: Start, around: &Surroundings) -> Result<Claude, Over> {
        let brings_back = start.snapshot.is_some();
        let started = Box::pin(Claude::bring_up(seat, start, around));
        if !brings_back {
            return started.await;
        }
        // The files come with the processor time of the sandbox, which claude needs at the same time.
        seat.hurry(true).await;
        let started = started.await;
        seat.hurry(false).await;
        started
    }

    async fn bring_up(seat: &Seat, start: Start, around: &Surroundings) -> Result<Claude, Over> {
        let Start {
            mut launch,
            snapshot,
            transcript,
            first_word,
        } = start;
        start::seat(&mut launch, seat.place(), &around.placeholder);
        let (early, looked_at) = oneshot::channel();
        let restored = async {
            let Some(id) = snapshot else { return Ok(()) };
            let restored = around.keeping.restore(seat, &id, early).await;
            // A seat with a part of the files must not be gone on with, let alone saved.
            restored.map_err(|why| {
                let why = format!("cannot bring the files back: {why}");
                Over::Sandbox(Ended::new(why, true))
            })
        };
        let started = async {
            if let Some(tar) = transcript {
                let tar = std::io::Cursor::new(tar);
                let unpacked = seat.unpack_home(tar).await;
                unpacked.map_err(|error| failed("bring the transcript back", error))?;
            }
            Claude::spawn(seat, &launch, first_word).await
        };
        if snapshot.is_none() || !launch.waits_for_prompt() {
            restored.await?;
            return started.await;
        }
        // It takes a while until claude has started, and the rest of the files comes meanwhile.
        let started = async {
            match looked_at.await {
                Ok(()) => started.await,
                // The other one says why.
                Err(_) => std::future::pending().await,
            }
        };
        let ((), mut claude) = tokio::try_join!(restored, started)?;
        claude.reader.ready_by = Some(Instant::now() + first_word);
        Ok(claude)
    }

    /// Starts claude in a seat where all its files are.
    ///
    /// # Errors
    /// When it or its sandbox cannot do it.
    pub async fn spawn(
        seat: &Seat,
        launch: &claude::launch::Launch,
        first_word: Duration,
    ) -> Result<Claude, Over> {
        let spec = ProcessSpec {
            argv: launch.argv(),
            env: launch.env(),
            cwd: launch.paths.cwd.to_string_lossy().into_owned(),
            terminal: None,
            user: None,
        };
        let process = seat.spawn(spec).await.map_err(|error| match error {
            SpawnError::Link(error) => failed("start claude", error),
            SpawnError::Refused(_) => Over::Claude(Ended::step("start claude", &error, false)),
        })?;
        let (input, output) = process.split();
        // A claude that does not take its first line says why as it ends.
        let _ = input.write(&launch.initialize("initialize")).await;
        let reader = Reader {
            output,
            lines: Lines::default(),
            stderr: Tail::default(),
            ready_by: Some(Instant::now() + first_word),
            first_word,
        };
        Ok(Claude { input, reader })
    }

    /// The next thing it says.
    ///
    /// # Errors
    /// When it says nothing more.
    pub async fn next(&mut self) -> Result<News, Over> {
        self.reader.next().await
    }

    /// Writes a line to it.
    ///
    /// # Errors
    /// When it does not read any more.
    pub async fn write(&self, line: &[u8]) -> Result<(), LinkError> {
        self.input.write(line).await
    }
}

/// A step over the link that failed: when the link itself ended, so did the sandbox.
fn failed(step: &str, error: LinkError) -> Over {
    match error {
        LinkError::Ended => Over::Sandbox(Ended::new("the sandbox ended", true)),
        error => Over::Claude(Ended::step(step, &error, true)),
    }
}

/// Does what is ordered; ends when claude is to end.
async fn write(
    seat: &mut Seat,
    input: &ProcessInput,
    orders: &mut mpsc::Receiver<Order>,
    around: &Surroundings,
) -> Over {
    loop {
        let order = orders.recv().await;
        if !matches!(order, Some(Order::Park(_) | Order::Reclaim)) {
            seat.thaw().await;
        }
        match order {
            Some(Order::Line(line)) => {
                if input.write(&line).await.is_err() {
                    // Claude no longer reads. Its output says why, so that is what ends it.
                    std::future::pending::<()>().await;
                }
            }
            Some(Order::Park(order)) => {
                let taken = seat.footprint().await.map(|taken| taken.anonymous_bytes);
                if order
                    .soft_memory
                    .zip(taken)
                    .is_some_and(|(soft, taken)| taken > soft)
                {
                    return Over::Recycle(order);
                }
                let parked = park(seat, order, true, around).await;
                around.tell(News::Parked(parked)).await;
            }
            Some(Order::Reclaim) => seat.reclaim().await,
            Some(Order::Outputs) => give(seat, around).await,
            Some(Order::Leave) => return Over::Leave,
            Some(Order::Start(start)) => return Over::Ordered(Some(start)),
            Some(Order::End) | None => return Over::Ordered(None),
        }
    }
}

/// Puts a seat to rest.
async fn park(seat: &mut Seat, order: Park, claude_runs: bool, around: &Surroundings) -> Parked {
    let kept = match order.save {
        true => {
            // The guest reads the files.
            seat.thaw().await;
            Some(around.keeping.save(seat).await)
        }
        false => None,
    };
    Parked {
        stillness: seat.freeze(claude_runs).await,
        kept,
        recycled: false,
    }
}

/// Keeps the results that lie in a seat.
async fn give(seat: &Seat, around: &Surroundings) {
    let outputs = around.keeping.outputs(seat).await;
    around.tell(News::Outputs(outputs)).await;
}

impl Surroundings {
    /// An actor that is gone has no use for news.
    async fn tell(&self, news: News) {
        let _ = self.sitter.news.send(news).await;
    }
}

impl Reader {
    /// Reads claude's lines to their end.
    async fn read(&mut self, around: &Surroundings) -> Over {
        loop {
            match self.next().await {
                Ok(news) => {
                    if around.sitter.news.send(news).await.is_err() {
                        return Over::Ordered(None);
                    }
                }
                Err(over) => return over,
            }
        }
    }

    /// The next thing that claude says. Nothing is lost when the future is dropped.
    async fn next(&mut self) -> Result<News, Over> {
        loop {
            while let Some(line) = self.lines.next_line() {
                let Some(news) = item(line) else { continue };
                if matches!(news, News::Frame(_)) {
                    self.ready_by = None;
                }
                return Ok(news);
            }
            let output = match self.ready_by {
                None => self.output.next().await,
                Some(ready_by) => match timeout_at(ready_by, self.output.next()).await {
                    Ok(output) => output,
                    Err(_) => return Err(Over::Claude(mute(self.first_word, &self.stderr))),
                },
            };
            match output {
                Ok(Some(Output::Stdout(bytes))) => self.lines.push(bytes),
                Ok(Some(Output::Stderr(bytes))) => self.stderr.push(&bytes),
                Ok(Some(Output::Exit(exit))) => {
                    let ready = self.ready_by.is_none();
                    return Err(Over::Claude(exited(exit, &self.stderr, ready)));
                }
                Ok(None) => return Err(Over::Sandbox(Ended::new("the sandbox ended", true))),
                Err(error) => return Err(failed("read from claude", error)),
            }
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
