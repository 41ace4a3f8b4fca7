//! The host's side of the link: everything the host does inside a sandbox goes through here.
//!
//! A provider hands over one duplex byte stream to a fresh guest. [`Guest::connect`] agrees on a
//! generation and puts a multiplexer on the stream; from then on every process, port and archive
//! is a stream of its own with its own flow control, so none of them can hold up another.
//!
//! The guest is not trusted: whatever it sends is bounded and checked, and nonsense ends the
//! stream or the link with a typed error. This module never starts a guest (a provider does) and
//! never decides what runs in it.
//!
//! The link lives as long as anything that came out of it: when the last [`Guest`],
//! [`Incoming`], [`Process`] or [`GuestIo`] is dropped it ends, the guest exits, and with it
//! everything in the sandbox.

mod archive;
mod embedded;
mod error;
mod incoming;
mod link;
mod process;
mod stream;

use std::{future::Future, sync::Arc};

use protocol::{Open, Opened};
use tokio::io::{AsyncRead, AsyncReadExt as _};

pub use archive::Packed;
pub use embedded::{GUEST, GUEST_SHA256};
pub use error::{LinkError, SpawnError};
pub use incoming::{Arrival, Asker, Incoming};
pub use process::{Output, Process, ProcessInput, ProcessOutput};
pub use protocol::{ErrorCode, Exit, Hello, ProcessSpec, Refusal, Stats, Stray, User, WindowSize};
pub use stream::GuestIo;

use crate::GuestStream;
use link::Link;

/// The host's handle of one guest. Clones are cheap and equal.
#[derive(Clone)]
pub struct Guest {
    link: Arc<Link>,
    hello: Arc<Hello>,
}

impl Guest {
    /// Agrees on a generation with the guest behind a stream.
    ///
    /// Bounded in time: a guest that does not answer within ten seconds is given up. Must be
    /// called within a tokio runtime, which then drives the link.
    pub async fn connect(stream: GuestStream) -> Result<(Self, Incoming), LinkError> {
        let (link, incoming) = Link::start(stream);
        let open = Open::Hello {
            generations: vec![protocol::GENERATION],
        };
        let hello = match link.open(&open).await? {
            (_, Opened::Hello(hello)) => hello,
            _ => return Err(LinkError::UnexpectedAnswer),
        };
        if hello.generation != protocol::GENERATION {
            return Err(LinkError::UnexpectedAnswer);
        }
        Ok((
            Self {
                link,
                hello: Arc::new(hello),
            },
            incoming,
        ))
    }

    /// What the guest said of itself.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Starts a process. Dropping what comes out of it kills the process and all it started.
    pub async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SpawnError> {
        match self.link.open(&Open::Spawn(spec)).await {
            Ok((stream, Opened::Ok)) => Ok(Process::start(stream).await?),
            Ok(_) => Err(LinkError::UnexpectedAnswer.into()),
            Err(LinkError::Refused(refusal)) => Err(SpawnError::Refused(refusal)),
            Err(error) => Err(error.into()),
        }
    }

    /// Connects to a port of the sandbox's loopback.
    pub async fn dial(&self, port: u16) -> Result<GuestIo, LinkError> {
        self.dial_to(port, None).await
    }

    /// The same where several members may have taken the port: refused unless it is `user`'s.
    pub async fn dial_for(&self, user: &User, port: u16) -> Result<GuestIo, LinkError> {
        self.dial_to(port, Some(user.uid)).await
    }

    async fn dial_to(&self, port: u16, uid: Option<u32>) -> Result<GuestIo, LinkError> {
        let open = Open::Dial { port, uid };
        Ok(GuestIo::new(self.link.open_ok(&open).await?))
    }

    /// Listens on a port of the sandbox's loopback; 0 lets the guest choose. Connections arrive
    /// at [`Incoming`] with the tag.
    pub async fn listen(&self, port: u16, tag: &str) -> Result<Listening, LinkError> {
        self.listen_to(port, tag, None).await
    }

    /// The same for connections of one user only, in a sandbox of several members: others find
    /// the port closed. Refused where the kernel does not say whose a connection is.
    pub async fn listen_for(
        &self,
        user: &User,
        port: u16,
        tag: &str,
    ) -> Result<Listening, LinkError> {
        self.listen_to(port, tag, Some(user.uid)).await
    }

    async fn listen_to(
        &self,
        port: u16,
        tag: &str,
        uid: Option<u32>,
    ) -> Result<Listening, LinkError> {
        let tag = tag.to_owned();
        match self.link.open(&Open::Listen { port, tag, uid }).await? {
            (stream, Opened::Listening { port }) => Ok(Listening { port, stream }),
            _ => Err(LinkError::UnexpectedAnswer),
        }
    }

    /// Opens the transparent way: names are answered inside, and connections to what they stand for
    /// arrive at [`Incoming`]. It is open until what is given is dropped; see [`Open::Transparent`].
    pub async fn transparent(&self) -> Result<Transparent, LinkError> {
        let stream = self.link.open_ok(&Open::Transparent).await?;
        Ok(Transparent { _stream: stream })
    }

    /// Makes a directory inside, with those on the way that are missing; see [`Open::MakeDir`].
    /// An `owner` is named only in a sandbox of several members.
    pub async fn make_dir(
        &self,
        path: &str,
        mode: u32,
        owner: Option<User>,
    ) -> Result<(), LinkError> {
        let open = Open::MakeDir {
            path: path.to_owned(),
            mode,
            owner,
        };
        self.link.open_ok(&open).await.map(drop)
    }

    /// Removes a directory inside with everything below it; see [`Open::RemoveDir`].
    pub async fn remove_dir(&self, path: &str) -> Result<(), LinkError> {
        let path = path.to_owned();
        let open = Open::RemoveDir { path };
        self.link.open_ok(&open).await.map(drop)
    }

    /// Writes a tar archive below a directory inside. Ends when everything is written. In a
    /// sandbox of several members it is written as `user`, whose the files become.
    pub async fn unpack(
        &self,
        dir: &str,
        user: Option<User>,
        tar: impl AsyncRead + Send + Unpin,
    ) -> Result<(), LinkError> {
        let stream = self
            .link
            .open_ok(&Open::Unpack {
                dir: dir.to_owned(),
                user,
            })
            .await?;
        archive::send(stream, tar).await
    }

    /// Reads files below a directory inside as a tar archive. The reader fails when the archive
    /// could not be finished, so an archive read to its end is whole. In a sandbox of several
    /// members it holds what `user` can read.
    pub async fn pack(
        &self,
        base: &str,
        paths: Vec<String>,
        user: Option<User>,
    ) -> Result<Packed, LinkError> {
        let open = Open::Pack {
            paths,
            base: base.to_owned(),
            user,
        };
        Ok(Packed::new(self.link.open_ok(&open).await?))
    }

    /// Reads file trees: what comes is [`protocol::TreeFrame`]s up to `End` or `Failed`, and only an
    /// `End` says that it was all. See [`Open::Save`] for what comes.
    ///
    /// `since_ns` is what the last save or restore of these roots ended with, by this very guest;
    /// 0 asks for everything. What is done, is done as `user`, who must be named where a sandbox
    /// has several members, and must not where it has one.
    pub async fn save(
        &self,
        roots: Vec<String>,
        since_ns: i64,
        user: Option<User>,
    ) -> Result<GuestIo, LinkError> {
        let open = Open::Save {
            roots,
            since_ns,
            user,
        };
        Ok(GuestIo::new(self.link.open_ok(&open).await?))
    }

    /// Makes file trees: takes [`protocol::TreeFrame`]s up to `End`, and then answers with one `End` or
    /// `Failed`, which may come sooner. See [`Open::Restore`] for what is refused.
    pub async fn restore(
        &self,
        roots: Vec<String>,
        user: Option<User>,
    ) -> Result<GuestIo, LinkError> {
        let open = Open::Restore { roots, user };
        Ok(GuestIo::new(self.link.open_ok(&open).await?))
    }

    /// How the sandbox does, seen from inside.
    pub async fn stats(&self) -> Result<Stats, LinkError> {
        match self.link.open(&Open::Stats).await? {
            (_, Opened::Stats(stats)) => Ok(stats),
            _ => Err(LinkError::UnexpectedAnswer),
        }
    }

    /// Resolves when the link has ended, for whatever reason.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.link.closed()
    }

    /// Ends the link: the guest exits, and everything in the sandbox with it.
    pub fn close(&self) {
        self.link.close();
    }
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guest")
            .field("hello", &self.hello)
            .finish_non_exhaustive()
    }
}

/// The transparent way, open; dropping it closes it. Connections that came by it go on.
pub struct Transparent {
    _stream: stream::LinkStream,
}

/// A port that is listened on inside; dropping it stops the listening. Connections that were
/// already accepted go on.
pub struct Listening {
    /// The port on 127.0.0.1 inside.
    pub port: u16,
    stream: stream::LinkStream,
}

impl Listening {
    /// Resolves when the guest no longer listens: the link ended or the guest gave up.
    pub async fn ended(&mut self) {
        let mut nothing = [0; 1];
        // The guest sends nothing on this stream, so any answer is its end.
        let _ = self.stream.read(&mut nothing).await;
    }
}
