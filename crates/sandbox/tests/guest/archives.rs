//! Archives through the link; what is refused in them has its own tests in the guest.

use sandbox::guest_channel::{ErrorCode, LinkError};
use tokio::io::AsyncReadExt as _;

use crate::inside::{inside, soon};

fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_mode(0o640);
    header.set_size(content.len() as u64);
    header.set_cksum();
    builder.append(&header, content).unwrap();
    builder.into_inner().unwrap()
}

#[tokio::test]
async fn a_tree_goes_out_and_in_again_unchanged() {
    let Some(inside) = inside().await else { return };
    let make = "mkdir -p /workspace/t/deep && cd /workspace/t && head -c 3000000 /dev/urandom > deep/big \
        && echo x > 'name with blanks' && ln -s /usr/bin/env link && chmod 700 deep && touch empty";
    assert!(inside.sh(make).await.exit.success());
    let mut tar = Vec::new();
    let mut packed = soon(inside.guest.pack("/workspace", vec!["t".into()], None))
        .await
        .unwrap();
    soon(packed.read_to_end(&mut tar)).await.unwrap();
    soon(inside.guest.unpack("/workspace/copy", None, &tar[..]))
        .await
        .unwrap();
    let compare = "diff -r --no-dereference /workspace/t /workspace/copy/t && cd /workspace/copy/t \
        && stat -c %a deep && readlink link";
    assert_eq!(inside.sh(compare).await.text(), "700\n/usr/bin/env");
}

#[tokio::test]
async fn an_archive_that_leaves_its_directory_is_refused() {
    let Some(inside) = inside().await else { return };
    for name in ["../evil", "/tmp/evil"] {
        let tar = archive(name, &vec![b'x'; 2_000_000]);
        let refused = soon(inside.guest.unpack("/tmp/dir", None, &tar[..])).await;
        let Err(LinkError::Refused(refusal)) = refused else {
            panic!("{name} was unpacked")
        };
        assert_eq!(refusal.code, ErrorCode::Confined);
        assert!(!inside.sh("test -e /tmp/evil").await.exit.success());
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_refused() {
    let Some(inside) = inside().await else { return };
    let tar = archive("file", b"x");
    let refused = soon(inside.guest.unpack("/usr/new", None, &tar[..])).await;
    assert!(matches!(refused, Err(LinkError::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn an_archive_whose_sender_fails_does_not_count_as_whole() {
    let Some(inside) = inside().await else { return };
    let tar = archive("file", &[b'x'; 100_000]);
    let failing = tar[..50_000].chain(Broken);
    let failed = soon(inside.guest.unpack("/tmp/half", None, failing)).await;
    assert!(matches!(failed, Err(LinkError::Source(_))), "{failed:?}");
    assert!(inside.sh("true").await.exit.success());
}

/// A reader that fails.
struct Broken;

impl tokio::io::AsyncRead for Broken {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()))
    }
}

#[tokio::test]
async fn what_is_not_there_cannot_be_packed() {
    let Some(inside) = inside().await else { return };
    for (base, path, code) in [
        ("/workspace", "zzz", ErrorCode::NotFound),
        ("/nowhere", ".", ErrorCode::BadDirectory),
        ("/workspace", "../usr", ErrorCode::Confined),
    ] {
        let refused = soon(inside.guest.pack(base, vec![path.into()], None)).await;
        let Err(LinkError::Refused(refusal)) = refused else {
            panic!("{base} {path}")
        };
        assert_eq!(refusal.code, code);
    }
}
