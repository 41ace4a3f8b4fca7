//! Moves bytes between a process and its stream.
//!
//! Three movements run side by side in one task: frames in, standard input out of its window
//! into the process, output back. None waits for another: a process that does not read its input
//! holds up its window alone, and a host that does not read holds up the output alone.
//!
//! The last frame is `Exit`, after all output. "All" is decided without a clock: when the
//! supervisor has ended, nothing below it lives, so what is in the pipes then is all there will
//! be. Two bounds remain for the impossible: [`LEFTOVERS`] for a tree that cannot be killed, and
//! [`REST_MAX`] for a pipe that was handed to another tree which never stops writing.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    time::Duration,
};

use bytes::BytesMut;
use nix::sys::signal::Signal;
use protocol::{
    Exit, Frame as _, FrameDecoder, GuestFrame, HEADER_LEN, HostFrame, STDIN_WINDOW, kind,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::{Notify, oneshot},
    time::timeout,
};

use super::{
    launch::Launched,
    source::{Sink, Source, Terminal},
};
use crate::{
    reaper::Reaper,
    supervise::control,
    wire::{LINGER, Stream, discard, read_frame},
};

/// Bytes of output in one frame.
const OUTPUT_CHUNK: usize = 64 * 1024;

/// Delivered input is reported once it is this much, so that small writes cost no answer.
const REPORT_TAKEN: u32 = STDIN_WINDOW as u32 / 4;

/// How long after a process's end its supervisor may take to kill what it left behind. It kills
/// after 0.1 s; more means that something cannot die. Exit is sent then all the same.
const LEFTOVERS: Duration = Duration::from_secs(5);

/// Bytes taken from a pipe after everything that belongs to it has ended: as much as a pipe can
/// hold.
const REST_MAX: usize = 1024 * 1024;

/// Standard input on its way, shared by the movements.
#[derive(Default)]
struct Input {
    /// At most [`STDIN_WINDOW`] bytes.
    waiting: RefCell<BytesMut>,
    closing: Cell<bool>,
    /// The process no longer takes any; bytes are reported as taken and forgotten.
    refused: Cell<bool>,
    taken: Cell<u32>,
    arrived: Notify,
    report: Notify,
}

impl Input {
    fn take(&self, len: usize) {
        // Never more than the window is outstanding, so this cannot overflow.
        self.taken.set(self.taken.get() + len as u32);
        if self.taken.get() >= REPORT_TAKEN {
            self.report.notify_one();
        }
    }
}

/// Carries a process's streams until it has ended or the host drops it, which kills it.
pub async fn pump(reaper: &Reaper, stream: Stream, launched: Launched) {
    let Launched {
        control,
        stdin,
        stdout,
        stderr,
        terminal,
        mut gone,
        supervisor,
        ..
    } = launched;
    let (mut from_host, mut to_host) = stream.split();
    let (reports, mut commands) = control.into_split();
    let input = Input::default();
    let wake = || reaper.wake(&supervisor);
    let ended = {
        let output = Output {
            to_host: &mut to_host,
            stdout,
            stderr,
            input: &input,
        };
        tokio::select! {
            () = frames(&mut from_host, &input, &mut commands, terminal, &wake) => None,
            sent = output.run(ending(reports, &mut gone)) => Some(sent),
            never = feed(&input, stdin) => match never {},
        }
    };
    // Without its control socket the supervisor kills what is left, if anything is.
    drop(commands);
    if let Some(Ok(())) = ended
        && to_host.shutdown().await.is_ok()
    {
        // The host may still be sending; it must not be left waiting for room.
        let _ = timeout(LINGER, discard(&mut from_host)).await;
    }
    drop((from_host, to_host));
    if !matches!(
        gone.try_recv(),
        Ok(()) | Err(oneshot::error::TryRecvError::Closed)
    ) {
        reaper.see_off(&supervisor, &mut gone).await;
    }
}

/// Obeys the host until it drops the stream or talks nonsense.
async fn frames(
    from_host: &mut (impl AsyncRead + Unpin),
    input: &Input,
    commands: &mut OwnedWriteHalf,
    terminal: Option<Terminal>,
    wake: &impl Fn(),
) {
    let mut decoder = FrameDecoder::<HostFrame>::default();
    while let Some(frame) = read_frame(from_host, &mut decoder).await {
        let command = match frame {
            HostFrame::Stdin(bytes) if input.refused.get() => {
                input.take(bytes.len());
                continue;
            }
            HostFrame::Stdin(bytes) => {
                let mut waiting = input.waiting.borrow_mut();
                if waiting.len() + bytes.len() > STDIN_WINDOW {
                    return;
                }
                waiting.extend_from_slice(&bytes);
                input.arrived.notify_one();
                continue;
            }
            HostFrame::StdinEof => {
                input.closing.set(true);
                input.arrived.notify_one();
                continue;
            }
            HostFrame::Resize(size) => {
                if let Some(terminal) = &terminal {
                    terminal.resize(size);
                }
                continue;
            }
            HostFrame::Signal(number) => control::encode(control::SIGNAL, number),
            HostFrame::KillTree => control::encode(control::KILL_TREE, 0),
        };
        // Fails when the supervisor has ended, and then there is nothing to signal.
        let _ = commands.write_all(&command).await;
        wake();
    }
}

/// Writes standard input into the process as it takes it. Never ends.
async fn feed(input: &Input, stdin: Sink) -> std::convert::Infallible {
    loop {
        let next = input.waiting.borrow_mut().split().freeze();
        if next.is_empty() {
            if input.closing.get() {
                break;
            }
            input.arrived.notified().await;
            continue;
        }
        let mut rest = &next[..];
        while !rest.is_empty() {
            match stdin.write(rest).await {
                Ok(len) => {
                    rest = &rest[len..];
                    input.take(len);
                }
                Err(_) => {
                    input.refused.set(true);
                    input.take(rest.len() + input.waiting.borrow_mut().split().len());
                    return std::future::pending().await;
                }
            }
        }
    }
    // Whatever the host sends after the end is forgotten.
    input.refused.set(true);
    stdin.close().await;
    std::future::pending().await
}

/// Waits for the end of the process and of everything it started.
async fn ending(mut reports: OwnedReadHalf, gone: &mut oneshot::Receiver<()>) -> Exit {
    let mut report = [0; control::LEN];
    let exit = match reports.read_exact(&mut report).await {
        Ok(_) => match control::decode(report) {
            (control::EXITED, code) => Exit {
                code: Some(code),
                signal: None,
            },
            (_, signal) => Exit {
                code: None,
                signal: Some(signal),
            },
        },
        // Somebody inside killed the supervisor; the reaper kills what was below it.
        Err(_) => Exit {
            code: None,
            signal: Some(Signal::SIGKILL as i32),
        },
    };
    let _ = timeout(LEFTOVERS, gone).await;
    exit
}

struct Output<'a, W> {
    to_host: &'a mut W,
    stdout: Source,
    stderr: Option<Source>,
    input: &'a Input,
}

impl<W: AsyncWrite + Unpin> Output<'_, W> {
    /// Sends output as it comes, and at the end the rest and `Exit`.
    async fn run(mut self, ending: impl Future<Output = Exit>) -> std::io::Result<()> {
        let (mut out, mut err) = (frame(), frame());
        let (mut out_open, mut err_open) = (true, self.stderr.is_some());
        tokio::pin!(ending);
        let exit = loop {
            tokio::select! {
                exit = &mut ending => break exit,
                read = self.stdout.read(&mut out, OUTPUT_CHUNK), if out_open => {
                    out_open = read > 0;
                    send(self.to_host, kind::STDOUT, &mut out).await?;
                }
                read = read_some(&mut self.stderr, &mut err), if err_open => {
                    err_open = read > 0;
                    send(self.to_host, kind::STDERR, &mut err).await?;
                }
                () = self.input.report.notified() => self.report_taken().await?,
            }
        };
        rest(self.to_host, &self.stdout, kind::STDOUT).await?;
        if let Some(stderr) = &self.stderr {
            rest(self.to_host, stderr, kind::STDERR).await?;
        }
        let mut last = BytesMut::new();
        GuestFrame::Exit(exit).encode(&mut last);
        self.to_host.write_all(&last).await
    }

    async fn report_taken(&mut self) -> std::io::Result<()> {
        let mut report = BytesMut::new();
        GuestFrame::StdinTaken(self.input.taken.take()).encode(&mut report);
        self.to_host.write_all(&report).await
    }
}

async fn read_some(source: &mut Option<Source>, into: &mut BytesMut) -> usize {
    match source {
        Some(source) => source.read(into, OUTPUT_CHUNK).await,
        None => 0,
    }
}

/// Room for a header, behind which output is read.
fn frame() -> BytesMut {
    BytesMut::zeroed(HEADER_LEN)
}

/// Sends what was read behind the header's room, if anything, and makes the room again.
async fn send(
    to_host: &mut (impl AsyncWrite + Unpin),
    kind: u8,
    frame: &mut BytesMut,
) -> std::io::Result<()> {
    let len = frame.len() - HEADER_LEN;
    if len > 0 {
        frame[..HEADER_LEN].copy_from_slice(&protocol::header(kind, len));
        to_host.write_all(frame).await?;
    }
    frame.truncate(HEADER_LEN);
    Ok(())
}

/// Sends what a source still holds.
async fn rest(
    to_host: &mut (impl AsyncWrite + Unpin),
    source: &Source,
    kind: u8,
) -> std::io::Result<()> {
    let mut total = 0;
    let mut frame = frame();
    while total < REST_MAX {
        match source.read_rest(&mut frame, OUTPUT_CHUNK) {
            0 => break,
            len => total += len,
        }
        send(to_host, kind, &mut frame).await?;
    }
    Ok(())
}
