//! Devices directly: both roles, and everybody who may sit in between or at the other end.
#![allow(clippy::unwrap_used)]

mod common;

use common::noise as bytes_of;
use common::wire::{Spoil, wire};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tombolo_client::transport::noise::{self, Role};
use tombolo_client::transport::{
    Bytes, FRAME_BYTES_MAX, FrameReceiver, FrameSender, Transport, TransportError, memory,
};

/// Both ends of a connection over TCP, with a wire in between.
async fn over(up: Spoil, down: Spoil) -> (Result<Transport, TransportError>, Result<Transport, TransportError>) {
    let (_, near, far) = over_counted(up, down).await;
    (near, far)
}

async fn over_counted(
    up: Spoil,
    down: Spoil,
) -> (std::sync::Arc<common::wire::Passed>, Result<Transport, TransportError>, Result<Transport, TransportError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, passed) = wire(listener.local_addr().unwrap(), up, down).await;
    let at = at.to_string();
    let accepting = async { noise::accept(listener.accept().await.unwrap().0, 2_000).await };
    let (near, far) = tokio::join!(noise::connect(&at, 2_000), accepting);
    (passed, near, far)
}

/// Both ends over memory.
async fn pair() -> (Transport, Transport) {
    let (a, b) = tokio::io::duplex(1 << 20);
    let (a, b) = tokio::join!(noise::introduce(a, Role::Initiator, None), noise::introduce(b, Role::Responder, None));
    (a.unwrap(), b.unwrap())
}

#[tokio::test]
async fn frames_of_every_length_pass_both_ways() {
    let (near, far) = over(Spoil::default(), Spoil::default()).await;
    let (near, far) = (near.unwrap(), far.unwrap());
    assert_eq!(near.channel_binding(), far.channel_binding());
    assert_eq!(near.channel_binding().len(), 32);
    assert!(near.remote().is_some() && far.remote().is_some());
    let ((to_far, from_far), (to_near, from_near)) = (near.split(), far.split());
    // Both directions at once: neither waits for the other.
    let up = tokio::spawn(send_all(to_far, &[0, 65_515, 131_034, FRAME_BYTES_MAX]));
    let down = tokio::spawn(send_all(to_near, &[1, 65_514, 65_516, 65_519, 65_535, 65_536, 131_035]));
    let near = tokio::spawn(receive_all(from_far, &[1, 65_514, 65_516, 65_519, 65_535, 65_536, 131_035]));
    receive_all(from_near, &[0, 65_515, 131_034, FRAME_BYTES_MAX]).await;
    for task in [up, down, near] {
        task.await.unwrap();
    }
}

async fn send_all(mut sender: FrameSender, lengths: &'static [usize]) {
    for len in lengths {
        sender.send(bytes_of(*len)).await.unwrap();
    }
    sender.close().await.unwrap();
}

async fn receive_all(mut receiver: FrameReceiver, lengths: &'static [usize]) {
    for len in lengths {
        assert!(receiver.receive().await.unwrap().unwrap() == bytes_of(*len), "{len}");
    }
    assert_eq!(receiver.receive().await.unwrap(), None);
}

#[tokio::test]
async fn every_connection_has_its_own_binding() {
    let ((a, _), (b, _)) = (pair().await, pair().await);
    assert_ne!(a.channel_binding(), b.channel_binding());
    // Somebody in the middle has two channels with two bindings, and so cannot pass on a proof.
    let (near, middle_near) = pair().await;
    let (middle_far, far) = pair().await;
    assert_eq!(near.channel_binding(), middle_near.channel_binding());
    assert_eq!(far.channel_binding(), middle_far.channel_binding());
    assert_ne!(near.channel_binding(), far.channel_binding());
}

#[tokio::test]
async fn counters_count_what_is_on_the_socket_and_the_cost_is_small() {
    let (passed, near, far) = over_counted(Spoil::default(), Spoil::default()).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    near.send(bytes_of(200_000)).await.unwrap();
    far.receive().await.unwrap().unwrap();
    far.send(bytes_of(80)).await.unwrap();
    near.receive().await.unwrap().unwrap();
    let (up, down) = passed.up_and_down();
    assert_eq!(near.counters().bytes(), Bytes { incoming: down, outgoing: up });
    assert_eq!(far.counters().bytes(), Bytes { incoming: up, outgoing: down });
    // Handshake up: 32 and 64 bytes, down: 96, each with 2 of length; then 4 a frame and 18 a message.
    assert_eq!(up, 34 + 66 + 200_000 + 4 + 4 * 18);
    assert_eq!(down, 98 + 80 + 4 + 18);
}

#[tokio::test]
async fn crumbs_are_put_together_and_a_dropped_receive_loses_nothing() {
    let crumbs = Spoil { crumbs: true, ..Spoil::default() };
    let (near, far) = over(crumbs, crumbs).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    near.send(bytes_of(3_000)).await.unwrap();
    near.send(vec![7]).await.unwrap();
    let (mut tries, begin) = (0, Instant::now());
    let frame = loop {
        match tokio::time::timeout(Duration::from_micros(200), far.receive()).await {
            Ok(frame) => break frame.unwrap().unwrap(),
            Err(_) => tries += 1,
        }
        assert!(begin.elapsed() < Duration::from_secs(20));
    };
    assert_eq!(frame, bytes_of(3_000));
    assert_eq!(far.receive().await.unwrap(), Some(vec![7]));
    assert!(tries > 0, "never interrupted: the test shows nothing");
}

#[tokio::test]
async fn a_dropped_send_does_not_break_the_order() {
    // A pipe so small that a frame does not fit: the first send is given up half-way.
    let (a, b) = tokio::io::duplex(100);
    let (a, b) = tokio::join!(noise::introduce(a, Role::Initiator, None), noise::introduce(b, Role::Responder, None));
    let (mut a, mut b) = (a.unwrap(), b.unwrap());
    assert!(tokio::time::timeout(Duration::from_millis(20), a.send(bytes_of(5_000))).await.is_err());
    let sending = tokio::spawn(async move { a.send(vec![7]).await.unwrap() });
    assert_eq!(b.receive().await.unwrap().unwrap(), bytes_of(5_000));
    assert_eq!(b.receive().await.unwrap().unwrap(), [7]);
    sending.await.unwrap();
}

/// Flips a bit of what the connecting side says; whether the handshake failed.
async fn flipped_up(at: u64) -> bool {
    let (near, far) = over(Spoil { flip: Some(at), ..Spoil::default() }, Spoil::default()).await;
    let Ok(mut far) = far else { return true };
    let mut near = near.unwrap();
    near.send(bytes_of(10)).await.unwrap();
    near.split().0.close().await.unwrap();
    let error = far.receive().await.unwrap_err();
    // A changed length makes the receiver wait for more, or cuts the tag off.
    assert!(matches!(error.code(), "tampered" | "connection_broke" | "transport_misbehaved"), "{at}: {error}");
    assert_eq!(far.receive().await.unwrap(), None, "after an error there is nothing more");
    false
}

#[tokio::test]
async fn no_flipped_bit_is_ever_believed() {
    // Up: 34 + 66 bytes of handshake, 2 of length, 4 + 10 + 16 of message. Every byte of it once, all at once (a
    // spoiled length is only noticed when the time is over).
    let mut tries = tokio::task::JoinSet::new();
    for at in 0..34 + 66 + 2 + 30 {
        tries.spawn(async move { (at, flipped_up(at).await) });
    }
    for (at, refused) in tries.join_all().await {
        assert_eq!(refused, at < 34 + 66, "byte {at}: each of the handshake counts, and no other");
    }
    // Down, the other side's only handshake message.
    for at in [0, 1, 2, 33, 34, 60, 97] {
        let (near, _) = over(Spoil::default(), Spoil { flip: Some(at), ..Spoil::default() }).await;
        assert!(matches!(near.unwrap_err().code(), "not_a_device" | "connect_timed_out"), "{at}");
    }
}

#[tokio::test]
async fn a_cut_is_told_from_a_close() {
    let whole = 34 + 66 + 2 + 4 + 10 + 16;
    for (cut, code) in [(whole - 1, "connection_broke"), (101, "connection_broke"), (50, "not_a_device")] {
        let (near, far) = over(Spoil { cut: Some(cut), ..Spoil::default() }, Spoil::default()).await;
        let error = match far {
            Err(error) => error,
            Ok(mut far) => {
                let _ = near.unwrap().send(bytes_of(10)).await;
                far.receive().await.unwrap_err()
            }
        };
        assert_eq!(error.code(), code, "{cut}: {error}");
    }
}

/// A listener, and a hostile client that says `words` and then waits.
async fn says(words: Vec<u8>) -> (Result<Transport, TransportError>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at: SocketAddr = listener.local_addr().unwrap();
    let mut hostile = TcpStream::connect(at).await.unwrap();
    hostile.write_all(&words).await.unwrap();
    let tcp = listener.accept().await.unwrap().0;
    (noise::accept(tcp, 300).await, hostile)
}

#[tokio::test]
async fn strangers_at_the_door_are_named_within_the_time_limit() {
    let mut garbage = vec![0, 64];
    garbage.extend(bytes_of(64));
    for (words, code) in [
        (vec![], "connect_timed_out"),
        (vec![0], "connect_timed_out"),
        (vec![0, 32, 1, 2, 3], "connect_timed_out"),
        (vec![0, 0], "not_a_device"),
        (vec![0, 5, 1, 2, 3, 4, 5], "not_a_device"),
        (garbage, "not_a_device"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "not_a_device"),
        (vec![0xff; 100_000], "not_a_device"),
    ] {
        let begin = Instant::now();
        let (accepted, _hostile) = says(words.clone()).await;
        assert_eq!(accepted.unwrap_err().code(), code, "{:?}", &words[..words.len().min(20)]);
        assert!(begin.elapsed() < Duration::from_secs(3));
    }
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(noise::connect(&gone.to_string(), 300).await.unwrap_err().code(), "unreachable");
    assert_eq!(noise::connect("no such place", 5_000).await.unwrap_err().code(), "unreachable");
    // Connected, and then silence.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = silent.local_addr().unwrap().to_string();
    assert_eq!(noise::connect(&at, 300).await.unwrap_err().code(), "connect_timed_out");
}

/// The far end of a good handshake, in the hands of somebody who then sends what no device sends.
struct Hostile {
    stream: DuplexStream,
    keys: snow::TransportState,
}

impl Hostile {
    async fn meet(prologue: &[u8]) -> Result<(Transport, Self), TransportError> {
        let (a, mut b) = tokio::io::duplex(16 << 20);
        let honest = tokio::spawn(noise::introduce(a, Role::Responder, None));
        let builder = snow::Builder::new("Noise_XX_25519_ChaChaPoly_BLAKE2s".parse().unwrap());
        let key = builder.generate_keypair().unwrap().private;
        let mut state = builder.prologue(prologue).unwrap().local_private_key(&key).unwrap().build_initiator().unwrap();
        let mut buffer = [0; 200];
        let len = state.write_message(&[], &mut buffer).unwrap();
        b.write_all(&[&[0, len as u8], &buffer[..len]].concat()).await.unwrap();
        let len = b.read_u16().await.unwrap() as usize;
        b.read_exact(&mut buffer[..len]).await.unwrap();
        if state.read_message(&buffer[..len], &mut []).is_ok() {
            let len = state.write_message(&[], &mut buffer).unwrap();
            b.write_all(&[&[0, len as u8], &buffer[..len]].concat()).await.unwrap();
        } else {
            b.write_all(&[0, 64]).await.unwrap();
            b.write_all(&[0; 64]).await.unwrap();
        }
        let honest = honest.await.unwrap()?;
        Ok((honest, Self { stream: b, keys: state.into_transport_mode().unwrap() }))
    }

    fn message(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut sealed = vec![0; plain.len() + 16];
        self.keys.write_message(plain, &mut sealed).unwrap();
        [&(sealed.len() as u16).to_be_bytes()[..], &sealed].concat()
    }

    async fn send(&mut self, plain: &[u8]) {
        let message = self.message(plain);
        self.stream.write_all(&message).await.unwrap();
    }
}

const PROLOGUE: &[u8] = b"tombolo 1 noise";

#[tokio::test]
async fn the_wire_is_what_the_description_says() {
    let (mut honest, mut other) = Hostile::meet(PROLOGUE).await.unwrap();
    other.send(&[0, 0, 0, 5, 1, 2]).await;
    other.send(&[3]).await;
    other.send(&[4, 5]).await;
    assert_eq!(honest.receive().await.unwrap().unwrap(), [1, 2, 3, 4, 5]);
    honest.send(vec![9; 3]).await.unwrap();
    let len = other.stream.read_u16().await.unwrap() as usize;
    let (mut sealed, mut plain) = (vec![0; len], vec![0; len - 16]);
    other.stream.read_exact(&mut sealed).await.unwrap();
    other.keys.read_message(&sealed, &mut plain).unwrap();
    assert_eq!(plain, [0, 0, 0, 3, 9, 9, 9]);
    // Another protocol with the same handshake does not get in.
    assert_eq!(Hostile::meet(b"another").await.err().unwrap().code(), "not_a_device");
}

#[tokio::test]
async fn what_no_device_sends_is_named() {
    for (plain, code) in [
        ((FRAME_BYTES_MAX as u32 + 1).to_be_bytes().to_vec(), "their_frame_too_large"),
        (vec![0xff; 4], "their_frame_too_large"),
        (vec![0, 0, 0], "transport_misbehaved"),
        (vec![], "transport_misbehaved"),
        (vec![0, 0, 0, 1], "transport_misbehaved"),
        (vec![0, 0, 0, 1, 7, 7], "transport_misbehaved"),
    ] {
        let (mut honest, mut hostile) = Hostile::meet(PROLOGUE).await.unwrap();
        hostile.send(&plain).await;
        assert_eq!(honest.receive().await.unwrap_err().code(), code, "{plain:?}");
    }
    // A promise of 4 MiB, then messages with nothing in them.
    let (mut honest, mut hostile) = Hostile::meet(PROLOGUE).await.unwrap();
    hostile.send(&[0, 0x40, 0, 0, 1]).await;
    hostile.send(&[]).await;
    assert_eq!(honest.receive().await.unwrap_err().code(), "transport_misbehaved");
    // Shorter than its tag.
    let (mut honest, mut hostile) = Hostile::meet(PROLOGUE).await.unwrap();
    hostile.stream.write_all(&[0, 15]).await.unwrap();
    assert_eq!(honest.receive().await.unwrap_err().code(), "transport_misbehaved");
}

#[tokio::test]
async fn replayed_dropped_and_swapped_messages_are_refused() {
    let frame = |at: u8| vec![0, 0, 0, 1, at];
    for order in [[0, 0], [1, 0]] {
        let (mut honest, mut hostile) = Hostile::meet(PROLOGUE).await.unwrap();
        let messages = [hostile.message(&frame(0)), hostile.message(&frame(1))];
        for at in order {
            hostile.stream.write_all(&messages[at]).await.unwrap();
        }
        if order[0] == 0 {
            assert_eq!(honest.receive().await.unwrap().unwrap(), [0]);
        }
        assert_eq!(honest.receive().await.unwrap_err().code(), "tampered", "{order:?}");
    }
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_not_sent_and_harms_nothing() {
    let (mut a, mut b) = pair().await;
    assert_eq!(a.send(vec![0; FRAME_BYTES_MAX + 1]).await.unwrap_err().code(), "frame_too_large");
    a.send(vec![7]).await.unwrap();
    assert_eq!(b.receive().await.unwrap(), Some(vec![7]));
}

#[tokio::test]
async fn memory_behaves_like_the_others() {
    fn is_sendable<T: Send + 'static>(_: &T) {}
    let (mut a, mut b) = memory::pair(b"both");
    is_sendable(&a);
    assert_eq!((a.channel_binding(), b.channel_binding()), (&b"both"[..], &b"both"[..]));
    a.send(vec![1, 2]).await.unwrap();
    b.send(vec![3]).await.unwrap();
    assert_eq!(b.receive().await.unwrap(), Some(vec![1, 2]));
    assert_eq!(a.receive().await.unwrap(), Some(vec![3]));
    assert_eq!(a.counters().bytes(), Bytes { incoming: 1, outgoing: 2 });
    assert_eq!(a.send(vec![0; FRAME_BYTES_MAX + 1]).await.unwrap_err().code(), "frame_too_large");
    let (mut sender, receiver) = a.split();
    sender.close().await.unwrap();
    assert_eq!(b.receive().await.unwrap(), None);
    drop(receiver);
    assert_eq!(b.send(vec![1]).await.unwrap_err().code(), "connection_broke");
    assert_eq!(sender.send(vec![1]).await.unwrap_err().code(), "connection_broke");
}
