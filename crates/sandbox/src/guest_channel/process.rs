//! A process inside the sandbox.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex as StdMutex},
};

use bytes::{Buf as _, Bytes, BytesMut};
use protocol::{Exit, Frame as _, FrameDecoder, GuestFrame, HostFrame, STDIN_WINDOW, WindowSize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    sync::{Mutex, Notify},
};

use super::{error::LinkError, stream::LinkStream};

/// Bytes of standard input in one frame.
const STDIN_CHUNK: usize = 64 * 1024;

/// Room for reading; a frame is 64 KiB at most from a guest of ours.
const READ_CHUNK: usize = 64 * 1024 + protocol::HEADER_LEN;

/// Output that a writer waiting for credit may put aside for the reader. When it is reached the
/// writer waits until the reader has taken some.
const ASIDE_MAX: usize = 1024 * 1024;

/// A running process. Dropping it, or both of its halves, kills the process and all it started.
pub struct Process {
    pid: u32,
    shared: Arc<Shared>,
}

impl Process {
    pub(super) async fn start(stream: LinkStream) -> Result<Self, LinkError> {
        let (reader, writer) = tokio::io::split(stream);
        let shared = Arc::new(Shared {
            writer: Mutex::new(Writer {
                stream: writer,
                pending: BytesMut::new(),
            }),
            reader: Mutex::new(Reader {
                stream: reader,
                decoder: FrameDecoder::default(),
                aside: VecDeque::new(),
                aside_bytes: 0,
                started: None,
                exited: false,
            }),
            stdin: StdMutex::new(Stdin {
                credit: STDIN_WINDOW,
                ended: false,
            }),
            changed: Notify::new(),
        });
        let pid = {
            let mut reader = shared.reader.lock().await;
            loop {
                if let Some(pid) = reader.started {
                    break pid;
                }
                shared.read_more(&mut reader).await?;
            }
        };
        Ok(Self { pid, shared })
    }

    /// Its process id inside the sandbox.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Parts it, so that one task can write while another reads.
    pub fn split(self) -> (ProcessInput, ProcessOutput) {
        (
            ProcessInput {
                shared: self.shared.clone(),
            },
            ProcessOutput {
                shared: self.shared,
            },
        )
    }
}

/// What can be done to a process. Every method may be cancelled: frames are never torn, though a
/// cancelled `write` may have written a part.
pub struct ProcessInput {
    shared: Arc<Shared>,
}

impl ProcessInput {
    /// Writes to standard input. Waits while the process does not read and the window is full;
    /// the other methods go through even then.
    pub async fn write(&self, mut bytes: &[u8]) -> Result<(), LinkError> {
        while !bytes.is_empty() {
            self.shared.wait_for_credit().await?;
            let mut writer = self.shared.writer.lock().await;
            writer.flush().await?;
            let len = self.shared.take_credit(bytes.len().min(STDIN_CHUNK));
            if len == 0 {
                continue;
            }
            let (piece, rest) = bytes.split_at(len);
            writer
                .pending
                .extend_from_slice(&protocol::header(protocol::kind::STDIN, len));
            writer.pending.extend_from_slice(piece);
            bytes = rest;
            writer.flush().await?;
        }
        Ok(())
    }

    /// Closes standard input after everything written so far.
    pub async fn close_stdin(&self) -> Result<(), LinkError> {
        self.shared.send(HostFrame::StdinEof).await
    }

    /// Sends a signal, by its Linux number, to the main process.
    pub async fn signal(&self, signal: i32) -> Result<(), LinkError> {
        self.shared.send(HostFrame::Signal(signal)).await
    }

    /// Kills the process and everything it started, detached or not.
    pub async fn kill_tree(&self) -> Result<(), LinkError> {
        self.shared.send(HostFrame::KillTree).await
    }

    /// Tells the terminal's new size; ignored without a terminal.
    pub async fn resize(&self, size: WindowSize) -> Result<(), LinkError> {
        self.shared.send(HostFrame::Resize(size)).await
    }
}

/// What a process says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Bytes of standard output, or of the terminal.
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// It ended; nothing follows.
    Exit(Exit),
}

/// What comes out of a process. Not reading it makes the process wait, nothing else.
pub struct ProcessOutput {
    shared: Arc<Shared>,
}

impl ProcessOutput {
    /// The next piece; `None` after [`Output::Exit`]. May be cancelled without loss.
    pub async fn next(&mut self) -> Result<Option<Output>, LinkError> {
        loop {
            let mut reader = self.shared.reader.lock().await;
            if let Some(output) = reader.aside.pop_front() {
                reader.aside_bytes -= size(&output);
                // A writer may have been waiting for this room.
                self.shared.changed.notify_waiters();
                return Ok(Some(output));
            }
            if reader.exited {
                return Ok(None);
            }
            self.shared.read_more(&mut reader).await?;
        }
    }
}

fn size(output: &Output) -> usize {
    match output {
        Output::Stdout(bytes) | Output::Stderr(bytes) => bytes.len(),
        Output::Exit(_) => 0,
    }
}

struct Shared {
    writer: Mutex<Writer>,
    reader: Mutex<Reader>,
    stdin: StdMutex<Stdin>,
    /// Rings when credit, room aside or the end came.
    changed: Notify,
}

struct Writer {
    stream: WriteHalf<LinkStream>,
    /// What is left of a frame whose sender was cancelled; goes out before anything else.
    pending: BytesMut,
}

struct Reader {
    stream: ReadHalf<LinkStream>,
    decoder: FrameDecoder<GuestFrame>,
    aside: VecDeque<Output>,
    aside_bytes: usize,
    started: Option<u32>,
    exited: bool,
}

struct Stdin {
    credit: usize,
    ended: bool,
}

impl Writer {
    async fn flush(&mut self) -> Result<(), LinkError> {
        while self.pending.has_remaining() {
            match self.stream.write_buf(&mut self.pending).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Err(LinkError::Ended),
            }
        }
        Ok(())
    }
}

impl Shared {
    async fn send(&self, frame: HostFrame) -> Result<(), LinkError> {
        let mut writer = self.writer.lock().await;
        writer.flush().await?;
        frame.encode(&mut writer.pending);
        writer.flush().await
    }

    /// Waits until some standard input may be sent. Reads meanwhile, because the credit comes
    /// with the output and nobody else may be reading.
    async fn wait_for_credit(&self) -> Result<(), LinkError> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let stdin = self.stdin.lock().expect("no holder panics");
                if stdin.ended {
                    return Err(LinkError::Ended);
                }
                if stdin.credit > 0 {
                    return Ok(());
                }
            }
            tokio::select! {
                () = changed => {}
                read = self.read_aside() => read?,
            }
        }
    }

    async fn read_aside(&self) -> Result<(), LinkError> {
        let mut reader = self.reader.lock().await;
        if reader.aside_bytes < ASIDE_MAX {
            return self.read_more(&mut reader).await;
        }
        drop(reader);
        std::future::pending().await
    }

    fn take_credit(&self, wanted: usize) -> usize {
        let mut stdin = self.stdin.lock().expect("no holder panics");
        let len = wanted.min(stdin.credit);
        stdin.credit -= len;
        len
    }

    /// Reads once and sorts what came. An end before `Exit` is an error.
    async fn read_more(&self, reader: &mut Reader) -> Result<(), LinkError> {
        reader.decoder.buffer().reserve(READ_CHUNK);
        let read = reader.stream.read_buf(reader.decoder.buffer()).await;
        let result = match read {
            Ok(1..) => self.sort(reader),
            Ok(0) | Err(_) => Err(LinkError::Ended),
        };
        if result.is_err() {
            self.end_stdin();
        }
        result
    }

    fn sort(&self, reader: &mut Reader) -> Result<(), LinkError> {
        while let Some(frame) = reader.decoder.next_frame()? {
            let output = match frame {
                GuestFrame::Started { pid } => {
                    reader.started = Some(pid);
                    continue;
                }
                GuestFrame::StdinTaken(len) => {
                    self.give_credit(len as usize)?;
                    continue;
                }
                GuestFrame::Stdout(bytes) => Output::Stdout(bytes),
                GuestFrame::Stderr(bytes) => Output::Stderr(bytes),
                GuestFrame::Exit(exit) => {
                    reader.exited = true;
                    self.end_stdin();
                    Output::Exit(exit)
                }
            };
            reader.aside_bytes += size(&output);
            reader.aside.push_back(output);
        }
        Ok(())
    }

    fn give_credit(&self, len: usize) -> Result<(), LinkError> {
        let mut stdin = self.stdin.lock().expect("no holder panics");
        let credit = stdin.credit.saturating_add(len);
        if credit > STDIN_WINDOW {
            return Err(LinkError::UnexpectedAnswer);
        }
        stdin.credit = credit;
        drop(stdin);
        self.changed.notify_waiters();
        Ok(())
    }

    fn end_stdin(&self) {
        self.stdin.lock().expect("no holder panics").ended = true;
        self.changed.notify_waiters();
    }
}
