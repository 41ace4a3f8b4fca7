//! What programs send that no way leads to: read from the device that all of it is led to, counted,
//! told to the host, and refused, so that nobody waits for an answer.
//!
//! The device comes as standard output from whoever made the sandbox, before anything else runs; where
//! there is none, the kernel refuses by itself and nothing is counted. Nothing that is read here goes
//! anywhere, and what is written is for the sandbox's own kernel.

mod packet;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};

use nix::unistd::dup2;
use protocol::{Open, STRAYS_MAX, Stray};
use tokio::{sync::Notify, time::sleep};

use crate::{
    owner::{Owners, Protocol},
    port,
    serve::Guest,
    sys,
};
use packet::Packet;

/// The device number of `/dev/net/tun`.
const TUN: (u32, u32) = (10, 200);

/// Bytes of a packet that are looked at: the device passes no larger ones.
const PACKET_LEN: usize = 1500;

/// How long what was seen is gathered before the host is told.
const GATHERED: Duration = Duration::from_secs(1);

/// Takes the device that came as standard output, if one did, and leaves standard error there.
pub fn take() -> io::Result<Option<File>> {
    let output = io::stdout();
    let found = rustix::fs::fstat(&output)?;
    let number = (
        rustix::fs::major(found.st_rdev),
        rustix::fs::minor(found.st_rdev),
    );
    if !rustix::fs::FileType::from_raw_mode(found.st_mode).is_char_device() || number != TUN {
        return Ok(None);
    }
    let device = File::from(output.as_fd().try_clone_to_owned()?);
    rustix::io::ioctl_fionbio(&device, true)?;
    dup2(io::stderr().as_raw_fd(), output.as_raw_fd())?;
    Ok(Some(device))
}

/// What was seen since the host was told.
#[derive(Default)]
pub struct Strays {
    seen: RefCell<Seen>,
    /// Rings when something was.
    some: Notify,
}

#[derive(Default)]
struct Seen {
    /// By what they are; at most [`STRAYS_MAX`].
    kinds: BTreeMap<(u8, IpAddr, u16, Option<u32>), u64>,
    /// Beyond these.
    more: u64,
}

impl Strays {
    fn count(&self, packet: &Packet, uid: Option<u32>) {
        let mut seen = self.seen.borrow_mut();
        let kind = (packet.protocol, packet.to.ip(), packet.to.port(), uid);
        let full = seen.kinds.len() >= STRAYS_MAX;
        match seen.kinds.get_mut(&kind) {
            Some(count) => *count += 1,
            None if full => seen.more += 1,
            None => drop(seen.kinds.insert(kind, 1)),
        }
        self.some.notify_one();
    }

    fn take(&self) -> Option<Open> {
        let Seen { kinds, more } = std::mem::take(&mut *self.seen.borrow_mut());
        let stray = |((protocol, address, port, uid), count)| Stray {
            protocol,
            address,
            port,
            uid,
            count,
        };
        let strays: Vec<Stray> = kinds.into_iter().map(stray).collect();
        (!strays.is_empty()).then_some(Open::Strays { strays, more })
    }
}

/// Reads and refuses what comes, for as long as the guest lives.
pub async fn refuse(device: File, guest: std::rc::Rc<Guest>) {
    // Without it nobody can be told anything; the packets wait in the device and are dropped there.
    let Ok(device) = sys::watched(device) else {
        return;
    };
    let mut bytes = [0; PACKET_LEN];
    loop {
        let Ok(mut ready) = device.readable().await else {
            return;
        };
        let read = ready.try_io(|device| device.get_ref().read(&mut bytes));
        let len = match read {
            Ok(Ok(len)) => len,
            Ok(Err(_)) => {
                // The kernel gives nothing for a moment.
                sleep(Duration::from_millis(10)).await;
                continue;
            }
            // Not ready after all.
            Err(_) => continue,
        };
        let Some(packet) = packet::read(&bytes[..len]) else {
            continue;
        };
        let owners = guest.acceptances.owners.as_ref();
        guest.strays.count(&packet, owner(owners, &packet));
        if let Some(refusal) = packet.refusal() {
            // A full queue of the device's drops it, as a network would.
            let _ = device.get_ref().write(&refusal);
        }
    }
}

/// Who sent a packet, in a sandbox of several members.
fn owner(owners: Option<&Owners>, packet: &Packet) -> Option<u32> {
    let protocol = match packet.protocol {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        _ => return None,
    };
    owners?.of(protocol, packet.from, packet.to)
}

/// Tells the host, as long as it wants to know.
pub async fn tell(guest: &Guest) {
    loop {
        guest.strays.some.notified().await;
        sleep(GATHERED).await;
        if let Some(open) = guest.strays.take() {
            // A host that does not answer does not want to know.
            let _ = port::ask(guest.acceptances.wishes(), &open).await;
        }
    }
}

/// Both ends of a packet; without ports where its protocol has none.
type Ends = (SocketAddr, SocketAddr);
