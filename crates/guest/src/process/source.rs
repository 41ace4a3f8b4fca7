//! Init's ends of a process's standard streams: pipes, or the master of a terminal.
//!
//! The runtime's pipe types serve for terminals too: all they do is to wait for readiness, read
//! and write.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use bytes::BytesMut;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use protocol::WindowSize;
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::{io::AsyncReadExt as _, net::unix::pipe};

/// Byte 4, which a terminal in its usual mode turns into the end of its input.
const END_OF_TRANSMISSION: u8 = 4;

/// The master of a terminal, to tell it its size.
pub struct Terminal(OwnedFd);

impl Terminal {
    pub fn resize(&self, size: WindowSize) {
        let size = Winsize {
            ws_row: size.rows,
            ws_col: size.cols,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // Fails only when the terminal is gone, and then nobody looks at it.
        let _ = tcsetwinsize(&self.0, size);
    }
}

/// Parts the master of a terminal.
pub fn terminal(master: OwnedFd) -> io::Result<(Sink, Source, Terminal)> {
    fcntl(
        master.as_raw_fd(),
        FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK),
    )?;
    let sink = pipe::Sender::from_owned_fd_unchecked(master.try_clone()?)?;
    let source = pipe::Receiver::from_owned_fd_unchecked(master.try_clone()?)?;
    Ok((
        Sink {
            pipe: sink,
            terminal: true,
        },
        Source(source),
        Terminal(master),
    ))
}

/// Where output comes from.
pub struct Source(pipe::Receiver);

impl Source {
    pub fn pipe(end: OwnedFd) -> io::Result<Self> {
        Ok(Self(pipe::Receiver::from_owned_fd(end)?))
    }

    /// Waits for output and appends it; 0 is the end. May be cancelled without loss.
    pub async fn read(&mut self, into: &mut BytesMut, max: usize) -> usize {
        into.reserve(max);
        // A terminal that no process has open any more answers EIO, which is its end.
        self.0.read_buf(into).await.unwrap_or(0)
    }

    /// Appends what is there now, asking the kernel itself and not the runtime's memory of it;
    /// 0 when there is nothing.
    pub fn read_rest(&self, into: &mut BytesMut, max: usize) -> usize {
        let before = into.len();
        into.resize(before + max, 0);
        let read = nix::unistd::read(self.0.as_raw_fd(), &mut into[before..]).unwrap_or(0);
        into.truncate(before + read);
        read
    }
}

/// Where input goes.
pub struct Sink {
    pipe: pipe::Sender,
    terminal: bool,
}

impl Sink {
    pub fn pipe(end: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            pipe: pipe::Sender::from_owned_fd(end)?,
            terminal: false,
        })
    }

    /// Waits for room and writes a part. May be cancelled without loss.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.pipe.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.pipe.writable().await?;
                }
                result => return result,
            }
        }
    }

    /// Ends the input. A terminal cannot be closed for one side; it gets the character that
    /// means the end.
    pub async fn close(self) {
        if self.terminal {
            let _ = self.write(&[END_OF_TRANSMISSION]).await;
        }
    }
}
