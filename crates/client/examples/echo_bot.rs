//! A bot in forty lines: joins by a link and answers every message that begins with `!echo`.
//!
//! `cargo run -p tombolo-client --example echo_bot -- HOME LINK`: the first start makes a profile in HOME and joins.

use std::path::PathBuf;
use tombolo_client::key_store::KeyStoreKind;
use tombolo_client::{Client, Config, Error, Event, SyncOptions};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let usage = || Error::new("usage", "two arguments are needed: HOME LINK", "");
    let home = PathBuf::from(args.next().ok_or_else(usage)?);
    let link = args.next().ok_or_else(usage)?;
    let config = Config { home: home.clone(), key_store: Some(KeyStoreKind::File), extra_certificates: None };
    if !home.join("profile.json").exists() {
        Client::init(&config, "Echo", &[])?;
    }
    let client = Client::open(&config)?;
    match client.accept(&link).await {
        Ok((conversation, _)) => println!("asked to join {conversation}"),
        Err(error) if error.code() == "member" => {}
        Err(error) => return Err(error),
    }
    let own = client.device();
    let mut events = client.watch(&SyncOptions::default()).await?;
    while let Some(event) = events.recv().await {
        if let Event::Message { conversation, message } = event
            && message.author != own
            && let Some(words) = message.text.strip_prefix("!echo ")
        {
            client.send(conversation, vec![words.to_owned()]).await?;
            println!("answered {}", message.name);
        }
    }
    client.close().await
}
