//! The contract between the host and the guest inside a sandbox.
//!
//! One duplex byte stream (the *link*) joins the two. A stream multiplexer runs on it, the host
//! as client and the guest as server, and every multiplexed stream has the same shape:
//!
//! ```text
//! opener ── message: Open ──▶ opened side
//! opener ◀─ message: Opened ─ opened side
//! then the stream's own content: process, archive or tree frames, or raw bytes
//! ```
//!
//! The first stream of a link is [`Open::Hello`]: the two agree on a generation, once. A guest
//! is frozen at birth and may be older than its host, so the host does all the adapting, an
//! unknown JSON field is ignored, and an unknown `open` is answered with [`Opened::Err`].
//!
//! This crate never does I/O and never waits. The codecs take bytes in and give messages and
//! frames out; whatever the other side sends, they answer with a typed error and never a panic.
//!
//! To add something a guest can do: a variant of [`Open`], what it answers in [`Opened`], what
//! follows on the stream in the variant's documentation, then `guest/src/serve.rs` and the
//! sandbox crate's guest channel.

mod archive_frame;
mod frame;
mod message;
mod open;
mod process_frame;
mod stray;
mod tree_frame;

pub use archive_frame::{ARCHIVE_CHUNK_MAX, ArchiveFrame};
pub use frame::{Frame, FrameDecoder, FrameError, HEADER_LEN, header};
pub use message::{MESSAGE_MAX, MessageDecoder, MessageError, decode_open, decode_opened, encode};
pub use open::{ErrorCode, Hello, Open, Opened, ProcessSpec, Refusal, Stats, User, WindowSize};
pub use process_frame::{Exit, GuestFrame, HostFrame, STDIN_WINDOW, kind};
pub use stray::{STRAYS_MAX, Stray};
pub use tree_frame::{
    Entry, EntryKind, TREE_CHUNK_MAX, TREE_PATH_MAX, TREE_XATTRS_MAX, TreeEnd, TreeFrame,
    Unchanged, Xattr, is_tree_path, order,
};

/// The generation this crate describes. A change that an older peer would misread is a new one.
pub const GENERATION: u32 = 1;

/// Picks the generation two sides speak: the highest that both know.
pub fn common_generation(theirs: &[u32]) -> Option<u32> {
    theirs
        .iter()
        .copied()
        .filter(|generation| *generation == GENERATION)
        .max()
}
