//! Files that somebody inside made for whoever looks from outside, and images full of links.

use std::{fs, os::unix::fs::symlink, path::Path};

use sandbox::{Rootfs, guest_channel::LinkError};
use tokio::{io::AsyncReadExt, time::timeout};

use super::{
    cell::{Cell, PATIENCE, connect},
    host::Host,
};
use crate::world::{id, spec};

/// An entry of an archive as nobody's tool would write it.
struct Entry {
    what: &'static str,
    name: Vec<u8>,
    kind: tar::EntryType,
    link: &'static str,
    /// The size that the header claims; there are four bytes.
    size: u64,
    mode: u32,
}

impl Entry {
    fn new(what: &'static str, name: impl Into<Vec<u8>>, kind: tar::EntryType) -> Self {
        Self {
            what,
            name: name.into(),
            kind,
            link: "",
            size: 4,
            mode: 0o644,
        }
    }

    fn archive(&self) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..self.name.len()].copy_from_slice(&self.name);
        let link = self.link.as_bytes();
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_size(self.size);
        header.set_device_major(1).unwrap();
        header.set_device_minor(5).unwrap();
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(b"evil");
        bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
        bytes
    }
}

fn entries() -> Vec<Entry> {
    use tar::EntryType as Kind;
    let link = |what, kind, link| Entry {
        link,
        size: 0,
        ..Entry::new(what, "link", kind)
    };
    vec![
        Entry::new("a name above", "../evil", Kind::Regular),
        Entry::new("a name above, later", "a/../../evil", Kind::Regular),
        Entry::new("an absolute name", "/tmp/evil", Kind::Regular),
        Entry::new("no name", "", Kind::Regular),
        Entry::new("a name with a line's end", "a\nb", Kind::Regular),
        Entry::new(
            "a name that is no text",
            b"\xff\xfe".to_vec(),
            Kind::Regular,
        ),
        link("a hard link to the guest", Kind::Link, "/opt/hostel/guest"),
        link("a hard link above", Kind::Link, "../../../etc/passwd"),
        link(
            "a link to the host's files",
            Kind::Symlink,
            "/proc/1/root/etc/shadow",
        ),
        Entry {
            size: 0,
            ..Entry::new("a device", "device", Kind::Char)
        },
        Entry {
            size: 0,
            ..Entry::new("a disk", "disk", Kind::Block)
        },
        Entry {
            size: 0,
            ..Entry::new("a pipe", "pipe", Kind::Fifo)
        },
        Entry {
            mode: 0o6755,
            ..Entry::new("set-user-id", "setuid", Kind::Regular)
        },
        Entry {
            size: 1 << 60,
            ..Entry::new("a size that no disk has", "huge", Kind::Regular)
        },
        Entry {
            size: 1 << 60,
            ..Entry::new("a sparse file of that size", "sparse", Kind::GNUSparse)
        },
        Entry {
            size: 1 << 40,
            ..Entry::new("a name of that length", "././@LongLink", Kind::GNULongName)
        },
        Entry {
            size: 1 << 40,
            ..Entry::new("attributes of that length", "pax", Kind::XHeader)
        },
    ]
}

async fn archives_stay_in_their_place(level: &str) {
    let Some(cell) = Cell::new(level).await else {
        return;
    };
    let host = Host::now();
    for entry in entries() {
        let archive = entry.archive();
        let unpacked = cell.guest.unpack("/workspace/in", None, &archive[..]);
        let unpacked = timeout(PATIENCE, unpacked).await;
        let told = unpacked.unwrap_or_else(|_| panic!("{level}: {} has no end", entry.what));
        let refused = matches!(told, Err(LinkError::Refused(_)));
        assert!(told.is_ok() || refused, "{level}: {}: {told:?}", entry.what);
        let look = "test ! -e /tmp/evil -a ! -e /workspace/evil -a ! -e /evil && cd /workspace/in 2> /dev/null || exit 0
            test -z \"$(find . -perm /6000 -o -type b -o -type c -o -type p)\" && ! grep -rs root: . ";
        let looked = cell.run(&["/bin/sh", "-c", look]).await;
        assert!(
            looked.exit.success(),
            "{level}: {}: {}",
            entry.what,
            looked.text
        );
        cell.run(&["/bin/rm", "-rf", "/workspace/in"]).await;
    }
    assert!(cell.answers().await);
    cell.end(&host).await;
}

/// What is odd goes out as what it is, or not at all, and nobody waits for it.
async fn odd_files_go_out_as_they_are(level: &str) {
    let Some(cell) = Cell::new(level).await else {
        return;
    };
    let host = Host::now();
    let make = r#"mkdir -p /workspace/out; cd /workspace/out
        mkfifo pipe; ln -s /proc/self/environ environ; ln -s /etc/passwd passwd; ln -s . loop; ln -s loop/loop loops
        perl -e 'use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0); bind($s, pack_sockaddr_un("socket"))'
        touch "$(printf 'a\nb')" "$(printf '\377\376')" -- --checkpoint-action=exec=x
        truncate -s 40G sparse; rm -f sparse
        d=$(printf 'd%.0s' $(seq 200)); for i in $(seq 19); do mkdir $d && cd $d; done; touch deep; echo made"#;
    let made = cell.run(&["/bin/bash", "-c", make]).await;
    assert!(made.text.contains("made"), "{level}: {}", made.text);
    let packed = async {
        let mut tar = Vec::new();
        let mut packed = cell
            .guest
            .pack("/workspace", vec!["out".into()], None)
            .await?;
        let read = packed.read_to_end(&mut tar).await;
        Ok::<_, LinkError>((tar, read))
    };
    let packed = timeout(PATIENCE, packed).await;
    let (tar, read) = packed.expect("packing has an end").unwrap();
    assert!(read.is_ok(), "{level}: {read:?}");
    let holds = |text: &[u8]| tar.windows(text.len()).any(|part| part == text);
    assert!(
        !holds(b"root:x:0") && !holds(b"HOME=/home"),
        "{level}: a link was followed"
    );
    assert!(
        holds(b"--checkpoint-action=exec=x"),
        "{level}: a name is missing"
    );
    assert!(cell.answers().await);
    cell.end(&host).await;
}

/// Every place where something is mounted is a link to a directory of the host in this image.
async fn links_of_an_image_lead_no_mount_elsewhere(level: &str) {
    let Some(cell) = Cell::new(level).await else {
        return;
    };
    let host = Host::now();
    if !fs::read_to_string("/proc/filesystems")
        .unwrap()
        .contains("overlay")
    {
        eprintln!("skipped: this kernel lays no roots over each other");
        return cell.end(&host).await;
    }
    let place = tempfile::tempdir().unwrap();
    let (victim, image) = (place.path().join("victim"), place.path().join("image"));
    for directory in [&victim, &image] {
        fs::create_dir(directory).unwrap();
    }
    open(place.path());
    open(&victim);
    fs::write(victim.join("mine"), "mine").unwrap();
    for name in [
        "workspace",
        "tmp",
        "home",
        "mnt",
        "opt",
        "dev",
        "proc",
        "sys",
        "etc",
        "run",
        "usr",
        "var",
    ] {
        symlink(&victim, image.join(name)).unwrap();
    }
    let mut wanted = spec("image");
    wanted.rootfs = Rootfs::Directory(image);
    let (guest, _incoming) = connect(&cell.world, &wanted).await;
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, "evil", &b"evil"[..])
        .unwrap();
    let archive = builder.into_inner().unwrap();
    for directory in ["/workspace", "/tmp", "/home/agent", "/mnt/session"] {
        let unpacked = guest.unpack(directory, None, &archive[..]).await;
        assert!(unpacked.is_ok(), "{level}: {directory}: {unpacked:?}");
        let packed = guest.pack(directory, vec!["mine".into()], None).await;
        assert!(packed.is_err(), "{level}: {directory} is the host's");
    }
    let left: Vec<_> = fs::read_dir(&victim).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{level}: {left:?}");
    cell.world.provider.destroy(&id("image")).await.unwrap();
    cell.end(&host).await;
}

fn open(directory: &Path) {
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(directory, everybody).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_stay_in_their_place_at_every_level() {
    for level in ["process", "container", "gvisor"] {
        archives_stay_in_their_place(level).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_files_go_out_as_they_are_at_every_level() {
    for level in ["process", "container", "gvisor"] {
        odd_files_go_out_as_they_are(level).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_of_an_image_lead_no_mount_elsewhere_at_every_level() {
    for level in ["process", "container", "gvisor"] {
        links_of_an_image_lead_no_mount_elsewhere(level).await;
    }
}
