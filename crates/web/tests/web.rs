//! The server as a browser and as a hostile page see it: one-time links, origins, names, calls and updates on the socket.
#![allow(clippy::unwrap_used, missing_docs)]

use futures_util::{SinkExt, StreamExt};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tombolo_app::App;
use tombolo_client::Config;
use tombolo_client::key_store::KeyStoreKind;
use tombolo_web::Server;

fn client() -> Client {
    // Whoever comes second finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new()
}

struct Stage {
    app: Arc<App>,
    server: Server,
    folder: tempfile::TempDir,
}

async fn stage() -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let config =
        Config { home: folder.path().join("profile"), key_store: Some(KeyStoreKind::File), extra_certificates: None };
    let app = App::open(config).await.unwrap();
    let server = Server::start(app.clone(), 0).await.unwrap();
    Stage { app, server, folder }
}

impl Stage {
    fn origin(&self) -> String {
        format!("http://{}", self.server.address())
    }

    fn token(&self) -> String {
        let link = self.server.links().borrow().clone();
        let (page, token) = link.split_once("#token=").unwrap();
        assert_eq!(page, format!("{}/", self.origin()));
        token.to_owned()
    }

    async fn trade(&self, token: &str, origin: Option<&str>) -> Response {
        let mut request = client().post(format!("{}/v1/session", self.origin())).body(token.to_owned());
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.send().await.unwrap()
    }

    async fn key(&self) -> String {
        let answer = self.trade(&self.token(), Some(&self.origin())).await;
        assert_eq!(answer.status(), StatusCode::OK);
        answer.text().await.unwrap()
    }

    async fn tab(&self) -> Tab {
        Tab { socket: open(self.server.address(), &self.key().await, &self.origin()).await.unwrap(), asked: 0 }
    }
}

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

async fn open(address: SocketAddr, key: &str, origin: &str) -> Result<Socket, tungstenite::Error> {
    let mut request = format!("ws://{address}/v1/interface?key={key}").into_client_request().unwrap();
    request.headers_mut().insert("origin", origin.parse().unwrap());
    connect_async(request).await.map(|(socket, _)| socket)
}

fn status(refused: Result<Socket, tungstenite::Error>) -> u16 {
    match refused {
        Err(tungstenite::Error::Http(answer)) => answer.status().as_u16(),
        other => panic!("not refused: {other:?}"),
    }
}

/// An interface.
struct Tab {
    socket: Socket,
    asked: u32,
}

impl Tab {
    async fn next(&mut self) -> Value {
        let wait = tokio::time::timeout(Duration::from_secs(20), self.socket.next());
        match wait.await.expect("an answer in time") {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Answer or problem of a call; updates before it are dropped.
    async fn call(&mut self, call: Value) -> Result<Value, Value> {
        self.asked += 1;
        let text = json!({ "ask": self.asked, "call": call }).to_string();
        self.socket.send(Message::text(text)).await.unwrap();
        loop {
            let told = self.next().await;
            if told["answer"] == self.asked {
                return Ok(told["value"].clone());
            }
            if told["failed"] == self.asked {
                return Err(told["problem"].clone());
            }
        }
    }

    /// The next update of a kind.
    async fn update(&mut self, kind: &str) -> Value {
        loop {
            let told = self.next().await;
            if told["told"]["update"] == kind {
                return told["told"].clone();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_ends_with_a_message_on_the_disk_and_on_the_screen() {
    let stage = stage().await;
    let mut tab = stage.tab().await;
    assert_eq!(tab.call(json!({ "do": "start" })).await.unwrap()["profile"], Value::Null);
    let refused = tab.call(json!({ "do": "conversations" })).await.unwrap_err();
    assert_eq!(refused["code"], "no-profile");
    let started = tab.call(json!({ "do": "init", "name": "Ann", "relay": "" })).await.unwrap();
    assert_eq!(started["profile"]["account"].as_str().unwrap().len(), 64);
    let again = tab.call(json!({ "do": "init", "name": "Ann", "relay": "" })).await.unwrap_err();
    assert_eq!(again["code"], "profile-exists");

    // The note to self is there from the start.
    let list = tab.call(json!({ "do": "conversations" })).await.unwrap();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["kind"]), (1, &json!("own")));
    let founded = tab.call(json!({ "do": "create", "title": "Harbour crew" })).await.unwrap();
    let conversation = founded["conversation"].as_str().unwrap().to_owned();
    let open = json!({ "do": "open", "conversation": conversation, "before": null, "limit": 50 });
    let window = tab.call(open.clone()).await.unwrap();
    assert_eq!((&window["messages"], &window["older"], &window["newer"]), (&json!([]), &json!(false), &json!(false)));

    let send = |text: &str| json!({ "do": "send", "conversation": conversation, "text": text, "answers": null, "mentions": [] });
    let sent = tab.call(send("The boats are in.")).await.unwrap();
    let update = tab.update("window").await;
    assert_eq!((&update["window"], &update["steps"][0]["step"]), (&window["window"], &json!("insert")));
    let message = &update["steps"][0]["message"];
    assert_eq!((&message["id"], &message["text"]), (&sent["id"], &json!("The boats are in.")));
    assert_eq!((&message["state"], &message["own"]), (&json!("local"), &json!(true)));

    // A change of a message is one step, and a second tab sees the same.
    let edit =
        json!({ "do": "edit", "conversation": conversation, "message": sent["id"], "text": "The boats are back." });
    assert_eq!(tab.call(edit).await.unwrap(), Value::Null);
    let update = tab.update("window").await;
    assert_eq!((update["steps"].as_array().unwrap().len(), &update["steps"][0]["step"]), (1, &json!("set")));
    let mut other = stage.tab().await;
    other.call(json!({ "do": "start" })).await.unwrap();
    let window = other.call(open).await.unwrap();
    assert_eq!(window["messages"][0]["text"], "The boats are back.");
    tab.call(send("And so are we.")).await.unwrap();
    assert_eq!(other.update("window").await["steps"][0]["message"]["text"], "And so are we.");

    // What cannot be done says why, and the socket stays.
    let unknown = json!({ "do": "open", "conversation": "00".repeat(16), "before": null, "limit": 50 });
    assert_eq!(tab.call(unknown).await.unwrap_err()["code"], "unknown-conversation");
    assert_eq!(tab.call(send("")).await.unwrap_err()["code"], "empty");
    let found = tab.call(json!({ "do": "search", "text": "boats", "conversation": null })).await.unwrap();
    assert_eq!(found[0]["parts"], json!(["The ", "boats", " are back."]));

    // All of it is there after a restart.
    drop((tab, other));
    stage.app.close().await.unwrap();
    let config = Config {
        home: stage.folder.path().join("profile"),
        key_store: Some(KeyStoreKind::File),
        extra_certificates: None,
    };
    let app = App::open(config).await.unwrap();
    let server = Server::start(app.clone(), 0).await.unwrap();
    let stage = Stage { app, server, folder: stage.folder };
    let mut tab = stage.tab().await;
    let open = json!({ "do": "open", "conversation": conversation, "before": null, "limit": 50 });
    assert_eq!(tab.call(open).await.unwrap()["messages"][1]["text"], "And so are we.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_goes_further_up_and_holds_still() {
    let stage = stage().await;
    let mut tab = stage.tab().await;
    tab.call(json!({ "do": "init", "name": "Ann", "relay": "" })).await.unwrap();
    let founded = tab.call(json!({ "do": "create", "title": "Long" })).await.unwrap();
    let conversation = founded["conversation"].as_str().unwrap().to_owned();
    for number in 0..30 {
        let text = format!("number {number}");
        let send = json!({ "do": "send", "conversation": conversation, "text": text, "answers": null, "mentions": [] });
        tab.call(send).await.unwrap();
    }
    let open = |before: Value| json!({ "do": "open", "conversation": conversation, "before": before, "limit": 10 });
    let newest = tab.call(open(Value::Null)).await.unwrap();
    assert_eq!((&newest["messages"][9]["text"], &newest["older"]), (&json!("number 29"), &json!(true)));
    let up = tab.call(open(newest["messages"][0]["cursor"].clone())).await.unwrap();
    assert_eq!((&up["messages"][0]["text"], &up["newer"]), (&json!("number 10"), &json!(true)));
    // What comes meanwhile is not of this window; what changes in it is told.
    let send = json!({ "do": "send", "conversation": conversation, "text": "later", "answers": null, "mentions": [] });
    tab.call(send).await.unwrap();
    let id = up["messages"][3]["id"].clone();
    let pin = json!({ "do": "pin", "conversation": conversation, "message": id, "on": true });
    tab.call(pin).await.unwrap();
    let update = tab.update("window").await;
    assert_eq!((update["steps"].as_array().unwrap().len(), &update["steps"][0]["index"]), (1, &json!(3)));
    assert_eq!(update["steps"][0]["message"]["pinned"], true);
    let around = json!({ "do": "around", "conversation": conversation, "message": id, "count": 2 });
    let around = tab.call(around).await.unwrap();
    let texts: Vec<&str> =
        around["messages"].as_array().unwrap().iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["number 11", "number 12", "number 13", "number 14", "number 15"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_origin_gets_nothing() {
    let stage = stage().await;
    let (address, origin, token) = (stage.server.address(), stage.origin(), stage.token());
    for other in [None, Some("http://evil.example"), Some("null"), Some("http://127.0.0.1"), Some("https://127.0.0.1")]
    {
        assert_eq!(stage.trade(&token, other).await.status(), StatusCode::FORBIDDEN, "{other:?}");
    }
    // The link works once.
    let key = stage.key().await;
    assert_eq!(stage.trade(&token, Some(&origin)).await.status(), StatusCode::UNAUTHORIZED);
    assert_ne!(stage.token(), token);
    assert_eq!(stage.trade("", Some(&origin)).await.status(), StatusCode::UNAUTHORIZED);

    assert_eq!(status(open(address, &key, "http://evil.example").await), 403);
    assert_eq!(status(open(address, &token, &origin).await), 401);
    assert_eq!(status(open(address, "", &origin).await), 401);
    assert!(open(address, &key, &origin).await.is_ok());

    // A name that somebody points at this machine is not ours.
    let rebound = client().get(&origin).header("host", format!("evil.example:{}", address.port()));
    assert_eq!(rebound.send().await.unwrap().status(), StatusCode::MISDIRECTED_REQUEST);
    let page = client().get(&origin).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    let lost = client().get(format!("{origin}/../Cargo.toml")).send().await.unwrap();
    assert_eq!(lost.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_sent_is_answered_or_ends_the_socket() {
    let stage = stage().await;
    let mut tab = stage.tab().await;
    for text in ["", "{}", "[1]", "{\"ask\":1}", "{\"ask\":1,\"call\":{\"do\":\"no such\"}}", &"x".repeat(500_000)] {
        tab.socket.send(Message::text(text)).await.unwrap();
        assert_eq!(tab.next().await["problem"]["code"], "malformed");
    }
    let extra = json!({ "do": "start", "more": 1 });
    tab.socket.send(Message::text(json!({ "ask": 1, "call": extra }).to_string())).await.unwrap();
    assert_eq!(tab.next().await["answer"], 1, "what an older program does not know is left aside");
    tab.socket.send(Message::text("x".repeat(2_000_000))).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(20), tab.socket.next()).await.unwrap();
    assert!(!matches!(end, Some(Ok(Message::Text(_)))), "{end:?}");
    assert!(stage.tab().await.call(json!({ "do": "start" })).await.is_ok(), "others are served as before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_goes_up_with_a_message_and_comes_down_again() {
    let stage = stage().await;
    let (origin, key) = (stage.origin(), stage.key().await);
    let mut tab = Tab { socket: open(stage.server.address(), &key, &origin).await.unwrap(), asked: 0 };
    let put = |key: &str, origin: &str, name: &str, bytes: Vec<u8>| {
        let request = client().post(format!("{}/v1/files?key={key}", stage.origin()));
        request.header("origin", origin).header("tombolo-name", name).body(bytes).send()
    };
    let refused = put(&key, &origin, "a.txt", vec![1]).await.unwrap();
    assert_eq!(refused.status(), StatusCode::INSUFFICIENT_STORAGE, "there is no profile yet");
    tab.call(json!({ "do": "init", "name": "Ann", "relay": "" })).await.unwrap();
    let founded = tab.call(json!({ "do": "create", "title": "Files" })).await.unwrap();
    let conversation = founded["conversation"].as_str().unwrap().to_owned();

    assert_eq!(put("", &origin, "a.txt", vec![1]).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(put(&key, "http://evil.example", "a.txt", vec![1]).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let content: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    let staged = put(&key, &origin, "..%2F..%2Fsea%20chart.txt", content.clone()).await.unwrap();
    assert_eq!(staged.status(), StatusCode::CREATED);
    let staged = staged.text().await.unwrap();
    let send = |files: Value| json!({ "do": "send", "conversation": conversation, "text": "", "answers": null, "mentions": [], "files": files });
    for wrong in ["..", "", "99999", "1/../1"] {
        assert_eq!(tab.call(send(json!([wrong]))).await.unwrap_err()["code"], "no-file", "{wrong}");
    }
    let sent = tab.call(send(json!([staged]))).await.unwrap();
    let opened = json!({ "do": "open", "conversation": conversation, "before": null, "limit": 5 });
    let file = &tab.call(opened).await.unwrap()["messages"][0]["files"][0];
    assert_eq!((&file["name"], &file["bytes"]), (&json!("sea chart.txt"), &json!(300_000)));
    assert_eq!(tab.call(send(json!([staged]))).await.unwrap_err()["code"], "no-file", "it went with its message");

    let url = format!("{origin}/v1/files/{}/1", sent["id"].as_str().unwrap());
    let came = client().get(format!("{url}?key={key}")).send().await.unwrap();
    assert_eq!(
        (&came.headers()["content-type"], came.status()),
        (&"application/octet-stream".parse().unwrap(), StatusCode::OK)
    );
    assert_eq!(came.headers()["content-disposition"], "attachment");
    assert_eq!(came.bytes().await.unwrap(), content);
    let foreign = client().get(format!("{url}?key={key}")).header("sec-fetch-site", "cross-site").send().await.unwrap();
    assert_eq!(foreign.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(client().get(&url).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let other =
        client().get(format!("{origin}/v1/files/{}/2?key={key}", sent["id"].as_str().unwrap())).send().await.unwrap();
    assert_eq!(
        (other.status(), other.json::<Value>().await.unwrap()["code"].clone()),
        (StatusCode::NOT_FOUND, json!("no-file"))
    );

    // Nothing of it stays in the clear: neither the file that was sent nor the one that was looked at.
    let left = |folder: &std::path::Path| std::fs::read_dir(folder).map_or(0, |entries| entries.flatten().count());
    let staging = stage.folder.path().join("profile/staging");
    assert_eq!(left(&staging), 0);
    // What was attached and never sent goes with the program, and what a crash left at the next start.
    put(&key, &origin, "unsent.txt", vec![1]).await.unwrap();
    assert_eq!(left(&staging), 1);
    stage.app.close().await.unwrap();
    assert_eq!(left(&staging), 0);
    std::fs::create_dir_all(staging.join("7")).unwrap();
    let home = stage.folder.path().join("profile");
    let app = App::open(Config { home, key_store: Some(KeyStoreKind::File), extra_certificates: None }).await.unwrap();
    assert_eq!(left(&staging), 0);
    app.close().await.unwrap();
}
