//! Whose a socket is: the kernel is asked by its `sock_diag` interface, which answers for one
//! without reading the table of all.
//!
//! The socket to ask with is opened before the guest confines itself, because nothing that is
//! started afterwards may have one.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// Lengths and offsets of `linux/inet_diag.h`: a header of 16 bytes, then the question or answer.
const HEADER: usize = 16;
const QUESTION: usize = HEADER + 56;
const ANSWER_UID: usize = HEADER + 64;
const ANSWER: usize = HEADER + 72;

/// `SOCK_DIAG_BY_FAMILY`, both ways.
const BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
const ANY_STATE: u32 = u32::MAX;
/// The state of a socket that only waits for connections; the kernel looks for one when there is
/// no connection.
const LISTENS: u8 = 10;

/// What a socket speaks, by its number on top of IP.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Protocol {
    Tcp = 6,
    Udp = 17,
}

/// Asks whose sockets are.
pub struct Owners {
    socket: OwnedFd,
}

impl Owners {
    /// Opens the way to ask. An error when this kernel has none.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkSockDiag;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        Ok(Self { socket })
    }

    /// Tries it with a connection of our own. An error when this kernel cannot say.
    pub fn check(&self) -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (from, to) = (client.local_addr()?, client.peer_addr()?);
        if self.of(Protocol::Tcp, from, to) == Some(nix::unistd::getuid().as_raw()) {
            Ok(())
        } else {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// The user of the socket that sends from `from` to `to`; `None` when it is gone already.
    pub fn of(&self, protocol: Protocol, from: SocketAddr, to: SocketAddr) -> Option<u32> {
        let descriptor = self.socket.as_raw_fd();
        // What was left over by an earlier question must not answer this one.
        let mut answer = [0; 4096];
        while recv(descriptor, &mut answer, MsgFlags::MSG_DONTWAIT).is_ok() {}
        let question = question(protocol, from, to);
        send(descriptor, &question, MsgFlags::MSG_DONTWAIT).ok()?;
        // The kernel answers before `send` returns.
        let len = recv(descriptor, &mut answer, MsgFlags::MSG_DONTWAIT).ok()?;
        read(answer.get(..len)?, protocol, from, to)
    }
}

/// The question for the socket whose own end is `from`.
fn question(protocol: Protocol, from: SocketAddr, to: SocketAddr) -> [u8; QUESTION] {
    let family = match from {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let ends = match protocol {
        Protocol::Tcp => ends(from, to),
        // For UDP the kernel takes the ends of what the socket receives.
        Protocol::Udp => ends(to, from),
    };
    let mut bytes = [0; QUESTION];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    put(0, &(QUESTION as u32).to_ne_bytes());
    put(4, &BY_FAMILY.to_ne_bytes());
    put(6, &REQUEST.to_ne_bytes());
    put(HEADER, &[family as u8, protocol as u8]);
    put(HEADER + 4, &ANY_STATE.to_ne_bytes());
    put(HEADER + 8, &ends);
    // No cookie: any socket with these ends.
    put(HEADER + 48, &[0xff; 8]);
    bytes
}

/// Both ports, then both addresses with room for the longer kind, as in the kernel's structure.
fn ends(own: SocketAddr, far: SocketAddr) -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[..2].copy_from_slice(&own.port().to_be_bytes());
    bytes[2..4].copy_from_slice(&far.port().to_be_bytes());
    for (at, end) in [(4, own), (20, far)] {
        match end.ip() {
            IpAddr::V4(ip) => bytes[at..at + 4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => bytes[at..at + 16].copy_from_slice(&ip.octets()),
        }
    }
    bytes
}

/// Reads the answer; `None` when it is about something else, or nothing was found.
fn read(answer: &[u8], protocol: Protocol, from: SocketAddr, to: SocketAddr) -> Option<u32> {
    let part = |at: usize, len: usize| answer.get(at..at + len);
    if answer.len() < ANSWER || part(4, 2)? != BY_FAMILY.to_ne_bytes() {
        return None;
    }
    let state = answer[HEADER + 1];
    // A socket of UDP need not have a far end.
    let told = if protocol == Protocol::Tcp { 4 } else { 2 };
    let ports = part(HEADER + 4, told)?;
    if state == LISTENS || ports != &ends(from, to)[..told] {
        return None;
    }
    let uid: [u8; 4] = part(ANSWER_UID, 4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_whoever_connected_until_it_is_gone() {
        let Ok(owners) = Owners::open() else {
            eprintln!("skipped: this kernel does not say whose a connection is");
            return;
        };
        owners.check().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_connection, from) = listener.accept().unwrap();
        let to = listener.local_addr().unwrap();
        let me = nix::unistd::getuid().as_raw();
        let of = |from, to| owners.of(Protocol::Tcp, from, to);
        assert_eq!(of(from, to), Some(me));
        // The listener itself, and what is not there, are nobody's connections.
        assert_eq!(of(to, from), Some(me), "the accepted end");
        assert_eq!(of(to, SocketAddr::new(to.ip(), 1)), None);
        drop(client);
        assert_ne!(of(from, SocketAddr::new(to.ip(), 1)), Some(me));
    }

    #[test]
    fn whoever_sends_is_found_bound_or_not() {
        let Ok(owners) = Owners::open() else {
            eprintln!("skipped: this kernel does not say whose a connection is");
            return;
        };
        let me = nix::unistd::getuid().as_raw();
        for any in ["0.0.0.0:0", "[::]:0"] {
            let socket = std::net::UdpSocket::bind(any).unwrap();
            let far = match socket.local_addr().unwrap() {
                SocketAddr::V4(_) => "127.0.0.1:53".parse().unwrap(),
                SocketAddr::V6(_) => "[::1]:53".parse::<SocketAddr>().unwrap(),
            };
            let from = SocketAddr::new(far.ip(), socket.local_addr().unwrap().port());
            if owners.of(Protocol::Udp, from, far).is_none() {
                eprintln!("skipped: this kernel does not say whose a socket of UDP is");
                return;
            }
            assert_eq!(owners.of(Protocol::Udp, from, far), Some(me));
            drop(socket);
            assert_eq!(owners.of(Protocol::Udp, from, far), None);
        }
    }

    #[test]
    fn an_answer_about_something_else_is_none() {
        let (from, to): (SocketAddr, SocketAddr) = (
            "127.0.0.1:4000".parse().unwrap(),
            "127.0.0.1:80".parse().unwrap(),
        );
        let about = |answer: &[u8], from, to| read(answer, Protocol::Tcp, from, to);
        let mut answer = [0; ANSWER];
        answer[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        answer[HEADER + 1] = 1;
        answer[HEADER + 4..HEADER + 40].copy_from_slice(&ends(from, to));
        answer[ANSWER_UID..ANSWER_UID + 4].copy_from_slice(&2000u32.to_ne_bytes());
        assert_eq!(about(&answer, from, to), Some(2000));
        assert_eq!(about(&answer, to, from), None);
        assert_eq!(about(&answer[..ANSWER - 1], from, to), None);
        let mut listens = answer;
        listens[HEADER + 1] = LISTENS;
        assert_eq!(about(&listens, from, to), None);
        let mut error = answer;
        error[4..6].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(about(&error, from, to), None);
    }
}
