//! What a relay refuses, and that refusing costs it little: each with a named reason.

use crate::probe::Probe;
use crate::world::{Device, PATIENCE, Socket, World, config, get, hear_out, limited};
use futures_util::SinkExt as _;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tombolo_proto::limit::FRAME_BYTES_MAX;
use tombolo_proto::{Fault, Frame, Refusal};
use tombolo_relay::Relay;
use tombolo_replica::Event;

async fn open(relay: &Relay) -> Socket {
    tokio_tungstenite::connect_async(relay.listening()).await.unwrap().0
}

/// Code of the farewell that a connection ended with.
fn farewell(heard: &[Vec<u8>]) -> String {
    match Frame::from_bytes(heard.last().expect("nothing was said")).unwrap() {
        Frame::Bye { code, .. } => code,
        frame => panic!("{frame:?}"),
    }
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_named_and_ends_the_connection() {
    let world = World::new(config()).await;
    let mut socket = open(&world.relay).await;
    // Larger than what the kernel buffers: the relay must not need to read it all.
    let sending = socket.send(Message::Binary(vec![0; 9 * FRAME_BYTES_MAX].into()));
    let _ = timeout(Duration::from_millis(500), sending).await;
    assert_eq!(farewell(&hear_out(&mut socket).await), "frame_too_large");
    assert_eq!(world.metric("tombolo_relay_sessions_closed_total{code=\"frame_too_large\"}").await, 1.0);
    assert_eq!(world.metric("tombolo_relay_frames_in_total").await, 0.0);

    let mut socket = open(&world.relay).await;
    socket.send(Message::Binary(vec![0; FRAME_BYTES_MAX + 1].into())).await.unwrap();
    assert_eq!(farewell(&hear_out(&mut socket).await), "frame_too_large");
    // One byte less is a frame, if a senseless one.
    let mut socket = open(&world.relay).await;
    socket.send(Message::Binary(vec![0; FRAME_BYTES_MAX].into())).await.unwrap();
    assert_eq!(farewell(&hear_out(&mut socket).await), "frame_malformed");
}

#[tokio::test]
async fn garbage_is_named() {
    let world = World::new(config()).await;
    let hello = Probe::over(open(&world.relay).await, 7, |_| ());
    let truncated = Frame::Ping(1).to_bytes()[..1].to_vec();
    drop(hello);
    for (message, code) in [
        (Message::Binary(vec![0x3f, 1, 2, 3].into()), "frame_malformed"),
        (Message::Binary(truncated.into()), "frame_malformed"),
        (Message::Text("{}".into()), "frame_malformed"),
        (
            Message::Binary(Frame::Presence { conversation: Default::default(), payload: vec![1] }.to_bytes().into()),
            "frame_out_of_turn",
        ),
        (Message::Binary(Frame::Roots(Vec::new()).to_bytes().into()), "frame_out_of_turn"),
    ] {
        let mut socket = open(&world.relay).await;
        socket.send(message).await.unwrap();
        assert_eq!(farewell(&hear_out(&mut socket).await), code);
    }
    // After authentication too.
    let mut probe = Probe::authenticated(&world.relay, 7, |_| ()).await;
    probe.socket.send(Message::Binary(vec![0x3f].into())).await.unwrap();
    assert_eq!(farewell(&hear_out(&mut probe.socket).await), "frame_malformed");
}

#[tokio::test]
async fn a_peer_of_another_time_is_told_so() {
    let world = World::new(config()).await;
    let mut probe = Probe::over(open(&world.relay).await, 7, |config| config.versions = (200, 199));
    assert!(matches!(probe.open().await, Some(Fault::NoCommonVersion { .. })));
    let mut heard = Vec::new();
    while let Some(frame) = probe.hear(PATIENCE).await {
        heard.push(frame);
    }
    assert_eq!(farewell(&heard), "no_common_version");
}

#[tokio::test]
async fn who_says_nothing_is_hung_up_on() {
    let world = World::new(limited(|limits| limits.opening_ms = 300)).await;
    let began = Instant::now();
    let mut websocket = open(&world.relay).await;
    let mut silent = TcpStream::connect(world.relay.address()).await.unwrap();
    let mut slow = TcpStream::connect(world.relay.address()).await.unwrap();
    slow.write_all(b"GET /v1/sync HTTP/1.1\r\nHost: ").await.unwrap();
    let heard = hear_out(&mut websocket).await;
    assert_eq!(farewell(&heard), "opening_timeout");
    for socket in [&mut silent, &mut slow] {
        let mut rest = Vec::new();
        // Reset or closed: gone either way.
        let _ = timeout(PATIENCE, socket.read_to_end(&mut rest)).await.unwrap();
    }
    let took = began.elapsed();
    assert!((Duration::from_millis(290)..Duration::from_secs(5)).contains(&took), "{took:?}");
    assert_eq!(world.metric("tombolo_relay_sessions_closed_total{code=\"opening_timeout\"}").await, 1.0);
    // Whoever has authenticated may be silent for longer.
    let mut quiet = Probe::authenticated(&world.relay, 7, |_| ()).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    quiet.hear_until_pong(1).await;
}

#[tokio::test]
async fn half_open_connections_keep_nobody_out() {
    let world = World::new(limited(|limits| limits.half_open = 50)).await;
    let mut ann = Device::new(1);
    let conversation = ann.found(1);
    let mut line = ann.dial(&world.relay).await;
    ann.drive(&mut line, |ann, line| ann.is_proven(line)).await;

    let mut sockets = Vec::new();
    for _ in 0..100 {
        sockets.push(TcpStream::connect(world.relay.address()).await.unwrap());
    }
    let mut websockets = Vec::new();
    for _ in 0..100 {
        websockets.push(open(&world.relay).await);
    }
    let began = Instant::now();
    let mut bob = Device::new(2);
    bob.found(2);
    bob.sync(&world.relay).await;
    // On a quiet machine some 50 ms; a newcomer who had to wait for a timeout would need ten seconds.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(get(world.relay.address(), "/health", "").await.0, 200);
    assert!(world.metric("tombolo_relay_half_open").await <= 50.0);
    assert!(world.metric("tombolo_relay_turned_away_total{limit=\"half_open\"}").await >= 140.0);
    // And nobody who was there has been cut off.
    let now = ann.now();
    ann.replica.presence(conversation, b"still here", now);
    ann.drive(&mut line, |ann, line| ann.is_proven(line)).await;
    assert_eq!(line.fault, None);
    drop((sockets, websockets));
}

#[tokio::test]
async fn connections_of_one_address_are_bounded() {
    let world = World::new(limited(|limits| limits.connections_per_address = 3)).await;
    let mut probes = Vec::new();
    for seed in 1..=3 {
        let mut probe = Probe::authenticated(&world.relay, seed, |_| ()).await;
        // The answer shows that the relay has taken the proof too.
        probe.hear_until_pong(1).await;
        probes.push(probe);
    }
    assert!(tokio_tungstenite::connect_async(world.relay.listening()).await.is_err());
    for probe in &mut probes {
        probe.hear_until_pong(2).await;
    }
    probes.pop();
    let mut tries = 0;
    while tokio_tungstenite::connect_async(world.relay.listening()).await.is_err() {
        tries += 1;
        assert!(tries < 100);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_account_that_is_full_is_refused_and_others_are_not() {
    let world = World::new(limited(|limits| limits.account_bytes = 100_000)).await;
    let (mut ann, mut bob) = (Device::new(1), Device::new(2));
    let conversation = ann.found(1);
    ann.say(conversation, 50, 1_000);
    ann.sync(&world.relay).await;
    let kept = world.metric("tombolo_relay_ops").await;
    assert_eq!(kept, 51.0);

    ann.say(conversation, 50, 1_000);
    let mut line = ann.dial(&world.relay).await;
    let refused =
        |event: &Event| matches!(event, Event::Refused { refusal: Refusal::QuotaExceeded, by_peer: true, .. });
    ann.drive(&mut line, |ann, _| ann.events.iter().any(refused)).await;
    assert_eq!(line.fault, None);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(world.metric("tombolo_relay_ops").await, kept);
    assert!(world.metric("tombolo_relay_refused_total{reason=\"quota_exceeded\"}").await >= 1.0);

    let own = bob.found(2);
    bob.say(own, 20, 1_000);
    bob.sync(&world.relay).await;
    // Counts may be a second old.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(world.metric("tombolo_relay_ops").await, kept + 21.0);
}

#[tokio::test]
async fn who_sends_too_fast_is_read_more_slowly() {
    let world = World::new(limited(|limits| {
        limits.burst_s = 1;
        limits.address_bytes_per_second = 400_000;
    }))
    .await;
    let mut ann = Device::new(1);
    let conversation = ann.found(1);
    ann.say(conversation, 40, 20_000);
    let began = Instant::now();
    ann.sync(&world.relay).await;
    // 800,000 bytes, of which a second's worth may come at once.
    assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
    assert_eq!(world.metric("tombolo_relay_ops").await, 41.0);
    assert!(world.metric("tombolo_relay_slowed_total{rate=\"address\"}").await >= 1.0);
}

#[tokio::test]
async fn a_reader_that_grants_more_than_it_reads_gets_no_more_than_the_bounded_credit() {
    let world = World::new(limited(|limits| limits.queue_bytes = 5 << 20)).await;
    let mut ann = Device::new(1);
    let conversation = ann.found(1);
    for _ in 0..10 {
        ann.say(conversation, 40, 60_000);
    }
    ann.sync(&world.relay).await;
    // Ann's key, an empty store, a credit without end: the relay has 24 MB to send, and nobody reads.
    let mut greedy = Probe::authenticated(&world.relay, 1, |config| config.window_bytes = u64::from(u32::MAX)).await;
    for _ in 0..40 {
        let wanted = tombolo_proto::frame::Wanted::All;
        greedy.say(&Frame::Want { conversation, tool: tombolo_proto::Tool::Heights, wanted }).await;
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(world.metric("tombolo_relay_sessions_closed_total{code=\"slow_reader\"}").await, 0.0);
    assert!(world.metric("tombolo_relay_bytes_out_total").await < 6.0 * 1024.0 * 1024.0, "the credit is bounded here");
    // Others are served meanwhile.
    ann.sync(&world.relay).await;
}

#[tokio::test]
async fn a_message_in_too_many_fragments_ends_the_connection() {
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame as Piece,
        coding::{Data, OpCode},
    };
    let world = World::new(config()).await;
    let mut socket = open(&world.relay).await;
    let piece = |first: bool| {
        let code = OpCode::Data(if first { Data::Binary } else { Data::Continue });
        Message::Frame(Piece::message(vec![0; 4], code, false))
    };
    let mut first = true;
    let flood = async {
        // 4 bytes in 10: far from one whole frame when the relay has had enough.
        while socket.feed(piece(std::mem::take(&mut first))).await.is_ok() {}
    };
    timeout(PATIENCE, flood).await.expect("the relay reads fragments for ever");
    assert!(world.metric("tombolo_relay_bytes_in_total").await < 2.5 * FRAME_BYTES_MAX as f64);
}
