//! The kernel's loop and TUN devices, and which Landlock it has. The only unsafe code of this crate.
//!
//! Safe code cannot do it: the interfaces of the devices are `ioctl` alone, and neither nix nor
//! rustix wraps them or Landlock. What is here never keeps a pointer beyond one call.
#![allow(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use nix::libc;

/// `LOOP_CTL_GET_FREE`: the number of a device that is not in use.
const GET_FREE: u64 = 0x4C82;
/// `LOOP_CONFIGURE` (Linux 5.8): sets file and options in one step.
const CONFIGURE: u64 = 0x4C0A;
/// `LO_FLAGS_AUTOCLEAR`: the device lets go of its file when nobody uses it any more, so a
/// killed helper or container leaves nothing attached.
const AUTOCLEAR: u32 = 4;
/// How often another process may snatch the free device before we give up: more than
/// creates that can run at the same time.
const ATTEMPTS: u32 = 64;

/// `TUNSETIFF`: makes a device and joins this file to it.
const SET_DEVICE: u64 = 0x4004_54CA;
/// `TUNSETPERSIST`: the device stays when its file is closed.
const SET_PERSIST: u64 = 0x4004_54CB;
/// `SIOCGIFINDEX`: the number of a device, by its name.
const GET_INDEX: u64 = 0x8933;
/// `IFF_TUN | IFF_NO_PI`: packets of IP, with nothing before them.
const PLAIN_PACKETS: u16 = 0x1001;

nix::ioctl_none_bad!(loop_ctl_get_free, GET_FREE);
nix::ioctl_write_ptr_bad!(loop_configure, CONFIGURE, LoopConfig);
nix::ioctl_write_ptr_bad!(tun_set_device, SET_DEVICE, DeviceFlags);
nix::ioctl_write_int_bad!(tun_set_persist, SET_PERSIST);
nix::ioctl_read_bad!(get_index, GET_INDEX, DeviceIndex);

/// `struct ifreq` where it holds flags, and where it holds a number.
#[repr(C)]
struct DeviceFlags {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}
#[repr(C)]
struct DeviceIndex {
    name: [u8; 16],
    index: u32,
    rest: [u8; 20],
}

/// A TUN device, which goes with its network namespace. To go with its file would keep whoever closes
/// that, the guest at its end, for some twenty milliseconds.
pub(super) struct Tun {
    pub file: File,
    /// Its number in its network namespace.
    pub index: u32,
}

/// `struct loop_info64` of `linux/loop.h`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of `linux/loop.h`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// The version of Landlock that this kernel offers; 0 for none.
pub(crate) fn landlock_version() -> i64 {
    const VERSION: u32 = 1;
    let nothing = std::ptr::null::<u8>();
    // SAFETY: with this flag the kernel reads no memory and only answers with a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    version.max(0)
}

/// Attaches `image` to a free loop device. The device goes free when the returned file and
/// every mount of it are gone.
pub(super) fn attach_loop(image: &Path) -> io::Result<(File, PathBuf)> {
    let backing = OpenOptions::new().read(true).write(true).open(image)?;
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    let config = LoopConfig::of(&backing)?;
    for _ in 0..ATTEMPTS {
        // SAFETY: the call takes no pointer; `control` is open for its whole length.
        let number = unsafe { loop_ctl_get_free(control.as_raw_fd()) }?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = OpenOptions::new().read(true).write(true).open(&path)?;
        // SAFETY: `config` lives across the call, has the layout of `struct loop_config`
        // (repr(C), checked by a test), and the kernel only reads it. Both files are open.
        match unsafe { loop_configure(device.as_raw_fd(), &config) } {
            Ok(_) => return Ok((device, path)),
            Err(nix::errno::Errno::EBUSY) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        "every free loop device was taken at once",
    ))
}

/// Makes a TUN device called `name` in the network namespace of this thread.
pub(super) fn tun(control: &Path, name: &str) -> io::Result<Tun> {
    let file = OpenOptions::new().read(true).write(true).open(control)?;
    let mut bytes = [0; 16];
    // One byte is left for the end of the name.
    let place = bytes.get_mut(..name.len().min(15)).expect("15 is below 16");
    place.copy_from_slice(&name.as_bytes()[..name.len().min(15)]);
    let wanted = DeviceFlags {
        name: bytes,
        flags: PLAIN_PACKETS,
        rest: [0; 22],
    };
    // SAFETY: `wanted` lives across the call and has the size and layout of `struct ifreq` (repr(C),
    // checked by a test); the kernel copies it in, and the file is open.
    unsafe { tun_set_device(file.as_raw_fd(), &wanted) }?;
    // SAFETY: the call takes a number; the file is open.
    unsafe { tun_set_persist(file.as_raw_fd(), 1) }?;
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::Datagram,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let mut found = DeviceIndex {
        name: bytes,
        index: 0,
        rest: [0; 20],
    };
    // SAFETY: as above; the kernel writes back no more than the structure's size.
    unsafe { get_index(socket.as_raw_fd(), &mut found) }?;
    let index = found.index;
    Ok(Tun { file, index })
}

impl LoopConfig {
    fn of(backing: &File) -> io::Result<Self> {
        let fd = u32::try_from(backing.as_raw_fd()).map_err(io::Error::other)?;
        Ok(Self {
            fd,
            // The file system's own block size: smaller requests are never sent.
            block_size: 4096,
            info: LoopInfo {
                device: 0,
                inode: 0,
                rdevice: 0,
                offset: 0,
                size_limit: 0,
                number: 0,
                encrypt_type: 0,
                encrypt_key_size: 0,
                flags: AUTOCLEAR,
                file_name: [0; 64],
                crypt_name: [0; 64],
                encrypt_key: [0; 32],
                init: [0; 2],
            },
            reserved: [0; 8],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_sizes() {
        assert_eq!(size_of::<LoopInfo>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 304);
        assert_eq!(size_of::<DeviceFlags>(), 40);
        assert_eq!(size_of::<DeviceIndex>(), 40);
    }
}
