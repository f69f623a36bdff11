//! One interface on its socket: calls come as JSON and are answered in their order, updates go out in between.

use axum::extract::ws::{Message, WebSocket};
use futures_util::{SinkExt, StreamExt};
use std::sync::Arc;
use tombolo_app::api::{Ask, Problem, Tell};
use tombolo_app::{App, Session};

pub(crate) async fn run(app: Arc<App>, socket: WebSocket) {
    let (session, mut updates) = Session::new(app);
    let (mut sink, mut stream) = socket.split();
    loop {
        let tell = tokio::select! {
            message = stream.next() => match message {
                Some(Ok(Message::Text(text))) => answer(&session, text.as_str()).await,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            update = updates.recv() => match update {
                Some(told) => Tell::Told { told: Box::new(told) },
                None => return,
            },
        };
        let Ok(text) = serde_json::to_string(&tell) else { return };
        if sink.send(Message::text(text)).await.is_err() {
            return;
        }
    }
}

async fn answer(session: &Session, text: &str) -> Tell {
    match serde_json::from_str::<Ask>(text) {
        Ok(Ask { ask, call }) => match session.call(call).await {
            Ok(value) => Tell::Answer { answer: ask, value },
            Err(problem) => Tell::Failed { failed: ask, problem },
        },
        Err(error) => Tell::Failed {
            // Which call it was cannot be told.
            failed: 0,
            problem: Problem {
                code: "malformed".into(),
                message: format!("the interface sent what is no call: {error}"),
                hint: "this is a fault of the interface: please report it".into(),
            },
        },
    }
}
