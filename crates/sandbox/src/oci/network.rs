//! Brings up loopback in a container's network namespace: the only interface it ever has.

use std::{fs::File, io, os::fd::AsRawFd};

use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
        socket,
    },
};

/// `RTM_NEWLINK`: change a link.
const NEW_LINK: u16 = 16;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const REQUEST_WITH_ANSWER: u16 = 1 | 4;
/// The index of `lo` in every network namespace: it is always made first.
const LOOPBACK: i32 = 1;
/// `IFF_UP`.
const UP: u32 = 1;
/// Length of `struct nlmsghdr` and of `struct ifinfomsg`.
const LENGTH: u32 = 16 + 16;

/// Brings up `lo` in the network namespace of `pid`. The calling thread stays in it: only a
/// helper at the end of its work may call this.
pub(super) fn bring_up_loopback_of(pid: i32) -> io::Result<()> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    setns(&namespace, CloneFlags::CLONE_NEWNET)?;
    bring_up_loopback()
}

/// Brings up `lo` where we are.
pub(super) fn bring_up_loopback() -> io::Result<()> {
    let route = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    sendto(
        route.as_raw_fd(),
        &link_up(),
        &NetlinkAddr::new(0, 0),
        MsgFlags::empty(),
    )?;
    let mut answer = [0; 128];
    let length = recv(route.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    outcome(&answer[..length])
}

/// The message that sets `IFF_UP` on loopback.
fn link_up() -> Vec<u8> {
    let mut message = Vec::with_capacity(32);
    message.extend(LENGTH.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(REQUEST_WITH_ANSWER.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes()); // sequence number
    message.extend(0_u32.to_ne_bytes()); // to the kernel
    message.extend([0; 4]); // any family, any type
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(UP.to_ne_bytes()); // flags
    message.extend(UP.to_ne_bytes()); // which flags to change
    message
}

/// Reads the error code of an `NLMSG_ERROR`, which follows the 16 bytes of header.
fn outcome(answer: &[u8]) -> io::Result<()> {
    let code = answer
        .get(16..20)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a netlink answer cut short"))?;
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(-code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_as_long_as_it_says() {
        assert_eq!(link_up().len(), LENGTH as usize);
    }

    #[test]
    fn error_code_of_the_kernel_is_told() {
        let mut answer = [0; 36];
        assert!(outcome(&answer).is_ok());
        answer[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
        assert_eq!(outcome(&answer).unwrap_err().raw_os_error(), Some(1));
        assert!(outcome(&answer[..10]).is_err());
    }
}
