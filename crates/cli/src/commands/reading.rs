//! What was read, and who is typing: what the commands do and print.
//!
//! Not here: parsing (`args/reading.rs`).

use super::choose;
use crate::args::{Reading, Tell};
use crate::door::{Door, Receipt};
use crate::failure::Failure;
use crate::out::Out;
use crate::show;
use crate::text::one_line;
use serde::Serialize;

#[derive(Serialize)]
struct ReceiptRow {
    account: String,
    name: String,
    own: bool,
    delivered: bool,
    read: bool,
}

#[derive(Serialize)]
struct TypingRow {
    typing: Vec<String>,
}

#[derive(Serialize)]
struct UnreadRow {
    conversation: String,
    unread: u64,
    mentions: u64,
}

/// Runs one of them.
pub(crate) async fn run(door: &Door, command: Reading, out: &Out) -> Result<(), Failure> {
    let client = door.client();
    match command {
        Reading::Read { conversation, up_to } => {
            let conversation = choose(door, &conversation).await?;
            client.read(conversation, up_to).await?;
            left(door, conversation, out).await
        }
        Reading::Unread { conversation, message } => {
            let conversation = choose(door, &conversation).await?;
            client.mark_unread(conversation, message).await?;
            left(door, conversation, out).await
        }
        Reading::Receipts { tell: Some(tell), .. } => {
            client.tell_receipts(tell == Tell::Yes).await?;
            out.remark(match tell {
                Tell::Yes => "Others are told what you have read.",
                Tell::No => "Others are not told what you read. What they were told before, they know.",
            });
            Ok(())
        }
        Reading::Receipts { message, .. } => {
            let (conversation, id) = client.locate(message.unwrap_or_default()).await?;
            let found = client.receipts(conversation, id).await?;
            let row = |receipt: &Receipt| ReceiptRow {
                account: receipt.account.to_string(),
                name: receipt.name.clone(),
                own: receipt.own,
                delivered: receipt.delivered,
                read: receipt.read,
            };
            out.rows(found.iter().map(row), |style| show::receipts(&found, style))
        }
        Reading::Typing { conversation } => {
            let conversation = choose(door, &conversation).await?;
            client.type_now(conversation).await?;
            let typing = client.typing(conversation).await?;
            let words: Vec<String> = typing.iter().map(|name| format!("{} is typing", one_line(name))).collect();
            out.rows([TypingRow { typing }], |_| words)
        }
    }
}

/// What is left to read.
async fn left(door: &Door, conversation: crate::door::ConversationId, out: &Out) -> Result<(), Failure> {
    let all = door.conversations().await?;
    let Some(row) = all.iter().find(|row| row.id == conversation) else { return Ok(()) };
    let (unread, mentions) = (row.unread, row.mentions);
    let row = UnreadRow { conversation: conversation.to_string(), unread, mentions };
    out.rows([row], |_| {
        vec![match unread {
            0 => "Everything is read.".to_owned(),
            unread => format!("{unread} unread."),
        }]
    })
}
