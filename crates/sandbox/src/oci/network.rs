//! A sandbox's network: a namespace with loopback, and a device that leads nowhere.
//!
//! The helper makes the namespace before the container, which is born in it. So it belongs to the
//! host's user namespace (but for rootless sandboxes), and nobody inside can change it.
//!
//! ```text
//!   127.0.0.0/8, ::1 ──▶ lo         all that there is
//!   everything else  ──▶ `nowhere`  a TUN device that the guest holds: it reads what comes, notes
//!                                   it and refuses it; nothing leaves
//! ```
//!
//! Without `/dev/net/tun` there is no route for everything else, and the kernel refuses it by
//! itself, unseen. A runtime with a kernel of its own brings its own loopback.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use nix::sched::{CloneFlags, unshare};

use super::{
    request::{Ids, Request},
    stage::{OrStep, StageError},
    sys::tun,
};

mod route;

use route::Route;

/// Where TUN devices come from.
const TUN: &str = "/dev/net/tun";

/// The device's name inside.
const NOWHERE: &str = "nowhere";

/// Where packets to elsewhere come from: the addresses that stand for no host (RFC 7600, RFC 6666).
/// They are loopback's, since programs that ask whether there is any network look for one that does
/// not begin with 127, and the kernel wants one to send from.
const FROM_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
const FROM_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1);

/// Programs of every user may listen on ports from here on: names are answered on 53, and taken
/// connections for on the ports that are asked for.
const FIRST_PORT: (&str, &str) = ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");

/// Whether packets that go nowhere can be seen on this host.
pub(crate) fn can_watch() -> bool {
    File::options().read(true).write(true).open(TUN).is_ok()
}

/// Makes the network of a sandbox around this process, which must not be the host's any more but
/// for its network; gives the end of `nowhere`, where there is to be one.
pub(super) fn make(request: &Request) -> Result<Option<File>, StageError> {
    // Without being root on the host it was made with the user namespace.
    if !matches!(request.ids, Ids::Own) {
        unshare(CloneFlags::CLONE_NEWNET).or_step(|| "make a network namespace")?;
    }
    let mut route = Route::open().or_step(|| "ask for routes")?;
    route.up(route::LOOPBACK).or_step(|| "bring up loopback")?;
    fs::write(FIRST_PORT.0, FIRST_PORT.1).or_step(|| "open the low ports inside")?;
    if !request.watched {
        return Ok(None);
    }
    let tun = tun(Path::new(TUN), NOWHERE).or_step(|| "make a network device")?;
    lead(&mut route, tun.index).or_step(|| "lead everything else nowhere")?;
    Ok(Some(tun.file))
}

/// Leads whatever is not for this machine to the device.
fn lead(route: &mut Route, nowhere: u32) -> io::Result<()> {
    route.address(route::LOOPBACK, IpAddr::V4(FROM_V4))?;
    route.up(nowhere)?;
    route.default(nowhere, false)?;
    // A kernel without IPv6 refuses it by itself.
    if Path::new("/proc/sys/net/ipv6").exists() {
        route.address(route::LOOPBACK, IpAddr::V6(FROM_V6))?;
        route.default(nowhere, true)?;
    }
    Ok(())
}
