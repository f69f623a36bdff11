//! The WebSocket to a relay, against a small server on loopback that can also be rude.
#![allow(clippy::unwrap_used)]

mod common;

use common::certificate::{Chain, chain};
use common::noise;
use common::wire::{Spoil, wire};
use futures_util::{SinkExt as _, StreamExt as _};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tombolo_client::transport::tls::Tls;
use tombolo_client::transport::{Bytes, FRAME_BYTES_MAX, Transport, TransportError, ws};

/// Accepts connections, each handled by `serve`.
async fn listen<F: Future<Output = ()> + Send>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let serve = Arc::clone(&serve);
            tokio::spawn(async move { serve(tcp).await });
        }
    });
    at
}

/// A relay that talks as `talk` says.
async fn relay<F: Future<Output = ()> + Send>(
    talk: impl Fn(WebSocketStream<TcpStream>) -> F + Send + Sync + 'static,
) -> SocketAddr {
    let talk = Arc::new(talk);
    listen(move |tcp| {
        let talk = Arc::clone(&talk);
        async move { talk(tokio_tungstenite::accept_async(tcp).await.unwrap()).await }
    })
    .await
}

/// Sends every binary message back.
async fn echo<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(mut ws: WebSocketStream<S>) {
    while let Some(Ok(message)) = ws.next().await {
        if message.is_binary() && ws.send(message).await.is_err() {
            return;
        }
    }
}

async fn connect(at: SocketAddr) -> Result<Transport, TransportError> {
    ws::connect(&format!("ws://{at}"), &Tls::new(None).unwrap(), 5_000).await
}

#[tokio::test]
async fn frames_come_back_whole_and_in_order() {
    let mut transport = connect(relay(echo).await).await.unwrap();
    assert_eq!(transport.channel_binding(), b"");
    assert!(transport.remote().is_some());
    for len in [1, 0, 125, 126, 65_535, 65_536, FRAME_BYTES_MAX] {
        transport.send(noise(len)).await.unwrap();
        assert_eq!(transport.receive().await.unwrap().unwrap(), noise(len), "{len}");
    }
    let (mut sender, mut receiver) = transport.split();
    let sending = tokio::spawn(async move {
        for at in 0..500u32 {
            sender.send([&at.to_be_bytes()[..], &noise(3_000)].concat()).await.unwrap();
        }
        sender.close().await.unwrap();
        sender.send(vec![1]).await.unwrap_err()
    });
    for at in 0..500u32 {
        assert_eq!(receiver.receive().await.unwrap().unwrap()[..4], at.to_be_bytes());
    }
    assert_eq!(receiver.receive().await.unwrap(), None);
    assert_eq!(receiver.receive().await.unwrap(), None);
    assert_eq!(sending.await.unwrap().code(), "connection_broke");
}

#[tokio::test]
async fn the_path_of_the_protocol_is_asked_for() {
    let at = listen(|tcp| async move {
        // The library wants its own large error type.
        #[allow(clippy::result_large_err)]
        let answer = |request: &Request, response: Response| {
            assert_eq!(request.uri().path(), "/behind/v1/sync");
            Ok(response)
        };
        echo(tokio_tungstenite::accept_hdr_async(tcp, answer).await.unwrap()).await;
    })
    .await;
    let mut transport = ws::connect(&format!("ws://{at}/behind/"), &Tls::new(None).unwrap(), 5_000).await.unwrap();
    transport.send(vec![7]).await.unwrap();
    assert_eq!(transport.receive().await.unwrap(), Some(vec![7]));
}

#[tokio::test]
async fn counters_count_what_is_on_the_socket() {
    let (at, passed) = wire(relay(echo).await, Spoil::default(), Spoil::default()).await;
    let mut transport = connect(at).await.unwrap();
    let counters = transport.counters();
    assert!(counters.bytes().outgoing > 100, "the upgrade counts: {:?}", counters.bytes());
    for len in [10, 100_000] {
        let before = counters.bytes();
        transport.send(noise(len)).await.unwrap();
        transport.receive().await.unwrap().unwrap();
        let (up, down) = passed.up_and_down();
        assert_eq!(counters.bytes(), Bytes { incoming: down, outgoing: up });
        let added = counters.bytes().outgoing - before.outgoing;
        assert!(added > len as u64 && added < len as u64 + 16, "{added} for {len}");
    }
}

#[tokio::test]
async fn crumbs_are_put_together_and_a_dropped_receive_loses_nothing() {
    let crumbs = Spoil { crumbs: true, ..Spoil::default() };
    let (at, _) = wire(relay(echo).await, crumbs, crumbs).await;
    let mut transport = connect(at).await.unwrap();
    transport.send(noise(3_000)).await.unwrap();
    let (mut tries, begin) = (0, Instant::now());
    let frame = loop {
        // Given up and asked again many times while the frame trickles in.
        match tokio::time::timeout(Duration::from_micros(200), transport.receive()).await {
            Ok(frame) => break frame.unwrap().unwrap(),
            Err(_) => tries += 1,
        }
        assert!(begin.elapsed() < Duration::from_secs(20));
    };
    assert_eq!(frame, noise(3_000));
    assert!(tries > 0, "never interrupted: the test shows nothing");
}

async fn tls_relay(chain: &Chain) -> SocketAddr {
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain.certificate.clone().into()], chain.key.clone().try_into().unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    listen(move |tcp| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(tls) = acceptor.accept(tcp).await {
                echo(tokio_tungstenite::accept_async(tls).await.unwrap()).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn tls_believes_the_added_issuer_and_nobody_else() {
    let (own, other) = (chain(1), chain(2));
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (own_pem, other_pem) = (write("own.pem", &own.issuer_pem), write("other.pem", &other.issuer_pem));
    let (at, passed) = wire(tls_relay(&own).await, Spoil::default(), Spoil::default()).await;
    let good = Tls::new(Some(&own_pem)).unwrap();
    for host in ["localhost", "127.0.0.1"] {
        let mut transport = ws::connect(&format!("wss://{host}:{}", at.port()), &good, 5_000).await.unwrap();
        transport.send(noise(100_000)).await.unwrap();
        assert_eq!(transport.receive().await.unwrap().unwrap(), noise(100_000));
        if host == "localhost" {
            let (up, down) = passed.up_and_down();
            assert_eq!(transport.counters().bytes(), Bytes { incoming: down, outgoing: up });
        }
    }
    let url = format!("wss://localhost:{}", at.port());
    for tls in [Tls::new(None).unwrap(), Tls::new(Some(&other_pem)).unwrap()] {
        let error = ws::connect(&url, &tls, 5_000).await.unwrap_err();
        assert_eq!(error.code(), "tls", "{error}");
    }
    // The right issuer, the wrong name.
    let error = ws::connect(&format!("wss://127.0.0.2:{}", at.port()), &good, 5_000).await;
    assert!(matches!(error.unwrap_err().code(), "tls" | "unreachable"));
    let error = ws::connect(&format!("wss://[::ffff:127.0.0.1]:{}", at.port()), &good, 5_000).await.unwrap_err();
    assert_eq!(error.code(), "tls", "{error}");
    // Plain text where TLS is spoken.
    let error = ws::connect(&format!("ws://localhost:{}", at.port()), &good, 5_000).await.unwrap_err();
    assert!(matches!(error.code(), "not_a_relay" | "connection_broke"), "{error}");
    for (name, text) in [("empty.pem", ""), ("text.pem", "hello"), ("broken.pem", &own.issuer_pem[..80])] {
        assert_eq!(Tls::new(Some(&write(name, text))).unwrap_err().code(), "certificates", "{name}");
    }
    assert_eq!(Tls::new(Some(&folder.path().join("nowhere"))).unwrap_err().code(), "certificates");
}

#[tokio::test]
async fn whatever_else_answers_is_named() {
    let says = |text: &'static str| {
        listen(move |mut tcp| async move {
            let mut request = [0; 4096];
            let _ = tcp.read(&mut request).await;
            let _ = tcp.write_all(text.as_bytes()).await;
        })
    };
    for (text, code) in [
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "not_a_relay"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "not_a_relay"),
        ("HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n", "relay_busy"),
        ("HTTP/1.1 429 Slow down\r\ncontent-length: 0\r\n\r\n", "relay_busy"),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", "not_a_relay"),
        ("SSH-2.0-OpenSSH\r\n", "not_a_relay"),
        ("", "connection_broke"),
    ] {
        let error = connect(says(text).await).await.unwrap_err();
        assert_eq!(error.code(), code, "{text:?}: {error}");
    }
    // Nobody listens.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(connect(gone).await.unwrap_err().code(), "unreachable");
    assert!(connect(gone).await.unwrap_err().may_pass());
    // Somebody listens and never says a word.
    let silent = listen(|tcp| async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(tcp);
    })
    .await;
    let begin = Instant::now();
    let error = ws::connect(&format!("ws://{silent}"), &Tls::new(None).unwrap(), 200).await.unwrap_err();
    assert_eq!(error.code(), "connect_timed_out");
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_rude_relay_gets_a_name_and_no_memory() {
    let text = relay(|mut ws| async move { ws.send(Message::text("hello")).await.unwrap() }).await;
    let error = connect(text).await.unwrap().receive().await.unwrap_err();
    assert_eq!(error.code(), "transport_misbehaved");
    // One byte too much, in one frame and in many.
    let large = relay(|mut ws| async move {
        let _ = ws.send(Message::binary(vec![0; FRAME_BYTES_MAX + 1])).await;
    })
    .await;
    let mut transport = connect(large).await.unwrap();
    assert_eq!(transport.receive().await.unwrap_err().code(), "their_frame_too_large");
    assert_eq!(transport.receive().await.unwrap(), None, "an error is told once");
    let promised = listen(|tcp| async move {
        let ws = tokio_tungstenite::accept_async(tcp).await.unwrap();
        // The header of a binary frame of 2^62 bytes, and nothing more.
        let mut tcp = ws.into_inner();
        tcp.write_all(&[0x82, 127, 0x40, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    assert_eq!(connect(promised).await.unwrap().receive().await.unwrap_err().code(), "their_frame_too_large");
    let endless = listen(|tcp| async move {
        let ws = tokio_tungstenite::accept_async(tcp).await.unwrap();
        let mut tcp = ws.into_inner();
        // A first fragment, then continuations without end.
        let mut fragment = vec![0x02, 126, 0xff, 0xff];
        fragment.extend(vec![0; 65_535]);
        while tcp.write_all(&fragment).await.is_ok() {
            fragment[0] = 0;
        }
    })
    .await;
    assert_eq!(connect(endless).await.unwrap().receive().await.unwrap_err().code(), "their_frame_too_large");
    let masked = listen(|tcp| async move {
        let ws = tokio_tungstenite::accept_async(tcp).await.unwrap();
        // Speaks as a client would.
        let config = WebSocketConfig::default();
        let mut ws = WebSocketStream::from_raw_socket(ws.into_inner(), Role::Client, Some(config)).await;
        let _ = ws.send(Message::binary(vec![1])).await;
    })
    .await;
    assert_eq!(connect(masked).await.unwrap().receive().await.unwrap_err().code(), "transport_misbehaved");
}

#[tokio::test]
async fn a_cut_is_told_from_a_close() {
    let closes = relay(|mut ws| async move {
        ws.send(Message::Ping(vec![1].into())).await.unwrap();
        ws.send(Message::binary(vec![7])).await.unwrap();
        ws.close(None).await.unwrap();
    })
    .await;
    let mut transport = connect(closes).await.unwrap();
    assert_eq!(transport.receive().await.unwrap(), Some(vec![7]));
    assert_eq!(transport.receive().await.unwrap(), None);
    let hangs_up = relay(|mut ws| async move { ws.send(Message::binary(vec![7])).await.unwrap() }).await;
    let mut transport = connect(hangs_up).await.unwrap();
    assert_eq!(transport.receive().await.unwrap(), Some(vec![7]));
    assert_eq!(transport.receive().await.unwrap_err().code(), "connection_broke");
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_not_sent_and_harms_nothing() {
    let mut transport = connect(relay(echo).await).await.unwrap();
    let before = transport.counters().bytes();
    let error = transport.send(vec![0; FRAME_BYTES_MAX + 1]).await.unwrap_err();
    assert_eq!(error.code(), "frame_too_large");
    assert_eq!(transport.counters().bytes(), before);
    transport.send(vec![7]).await.unwrap();
    assert_eq!(transport.receive().await.unwrap(), Some(vec![7]));
}
