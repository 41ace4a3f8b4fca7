//! Loopback ports, both ways.

use sandbox::guest_channel::{ErrorCode, LinkError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::inside::{eventually, finish, inside, ready, sh, soon, spec};

const ECHO: &str = "use IO::Socket::INET; $| = 1;\
    my $s = IO::Socket::INET->new(Listen => 64, LocalAddr => \"127.0.0.1\", ReuseAddr => 1) or die;\
    print \"port \", $s->sockport, \" ready\\n\";\
    while (my $c = $s->accept) { if (!fork) { close $s; while (sysread($c, my $b, 65536)) { print $c $b; $c->flush } exit } close $c }";

fn port_of(said: &str) -> u16 {
    said.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_host_reaches_a_server_inside() {
    let Some(inside) = inside().await else { return };
    let (_input, _output, said) = ready(&inside, spec(&["perl", "-e", ECHO])).await;
    let mut ios = Vec::new();
    for number in 0..10u8 {
        let mut io = soon(inside.guest.dial(port_of(&said))).await.unwrap();
        soon(io.write_all(&[number; 100_000])).await.unwrap();
        ios.push(io);
    }
    for (number, mut io) in ios.into_iter().enumerate() {
        // The echo ends when we have said all, so half-closing works both ways.
        soon(io.shutdown()).await.unwrap();
        let mut back = Vec::new();
        soon(io.read_to_end(&mut back)).await.unwrap();
        assert_eq!(back, vec![number as u8; 100_000]);
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_refused() {
    let Some(inside) = inside().await else { return };
    let Err(LinkError::Refused(refusal)) = soon(inside.guest.dial(9)).await else {
        panic!()
    };
    assert_eq!(refusal.code, ErrorCode::ConnectionRefused);
}

#[tokio::test]
async fn programs_inside_reach_the_host() {
    let Some(mut inside) = inside().await else {
        return;
    };
    let listening = soon(inside.guest.listen(0, "model")).await.unwrap();
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{}; echo question >&3; head -n 1 <&3",
        listening.port
    );
    let asker = inside.spawn(sh(&script)).await;
    let (tag, mut io) = soon(inside.incoming.accept()).await.unwrap();
    assert_eq!(tag, "model");
    let mut question = [0; 9];
    soon(io.read_exact(&mut question)).await.unwrap();
    assert_eq!(&question, b"question\n");
    soon(io.write_all(b"answer\n")).await.unwrap();
    assert_eq!(finish(asker).await.text(), "answer");
    assert_eq!(soon(io.read(&mut question)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_taken_port_is_refused_and_free_again_after_the_listener_is_dropped() {
    let Some(inside) = inside().await else { return };
    let listening = soon(inside.guest.listen(0, "a")).await.unwrap();
    let port = listening.port;
    let Err(LinkError::Refused(refusal)) = soon(inside.guest.listen(port, "b")).await else {
        panic!("listened twice");
    };
    assert_eq!(refusal.code, ErrorCode::PortInUse);
    drop(listening);
    eventually("the port is free", async || {
        inside.guest.listen(port, "c").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_the_host_drops_is_over_for_its_client() {
    let Some(mut inside) = inside().await else {
        return;
    };
    let listening = soon(inside.guest.listen(0, "short")).await.unwrap();
    // Reads to the end and then waits to be told that its own direction is over too.
    let script = format!(
        "use IO::Socket::INET; $| = 1; $SIG{{PIPE}} = \"IGNORE\";\
         my $c = IO::Socket::INET->new(\"127.0.0.1:{}\") or die; print <$c>;\
         1 while syswrite($c, \"x\"); print \"over\n\"",
        listening.port
    );
    let client = inside.spawn(spec(&["perl", "-e", &script])).await;
    let (_, mut io) = soon(inside.incoming.accept()).await.unwrap();
    soon(io.write_all(b"hi ")).await.unwrap();
    drop(io);
    assert_eq!(finish(client).await.text(), "hi over");
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_and_are_served() {
    let Some(mut inside) = inside().await else {
        return;
    };
    let listening = soon(inside.guest.listen(0, "many")).await.unwrap();
    let script = format!(
        "use IO::Socket::INET; my @c; for (1..230) {{ push @c, IO::Socket::INET->new(\"127.0.0.1:{}\") or die }}\
         print \"ready\\n\"; my $n = 0; for my $c (@c) {{ $n++ if <$c> eq \"hi\\n\" }} print \"served $n\\n\"",
        listening.port
    );
    let client = inside
        .spawn(spec(&["perl", "-e", &format!("$| = 1; {script}")]))
        .await;
    let serve = async {
        for _ in 0..230 {
            let (_, mut io) = soon(inside.incoming.accept()).await.unwrap();
            soon(io.write_all(b"hi\n")).await.unwrap();
        }
    };
    let ((), done) = tokio::join!(serve, finish(client));
    assert!(
        done.text().ends_with("served 230"),
        "{} {}",
        done.text(),
        done.complaint()
    );
}

#[tokio::test]
async fn a_host_that_loses_interest_after_half_closing_holds_up_nothing() {
    let Some(inside) = inside().await else { return };
    let script = "use IO::Socket::INET; $| = 1; $SIG{PIPE} = \"IGNORE\";\
        my $s = IO::Socket::INET->new(Listen => 9, LocalAddr => \"127.0.0.1\") or die;\
        print \"port \", $s->sockport, \" ready\\n\"; my $c = $s->accept;\
        while (sysread($c, my $b, 4096)) {} print $c \"x\" x 5000000; close $c; print \"sent\\n\"; sleep 1000";
    let (_input, mut output, said) = ready(&inside, spec(&["perl", "-e", script])).await;
    let mut io = soon(inside.guest.dial(port_of(&said))).await.unwrap();
    soon(io.shutdown()).await.unwrap();
    drop(io);
    crate::inside::until(&mut output, "sent").await;
}
