//! `import`: reads an export as a whole, asks what it leaves open, and only then changes anything.
//!
//! Not here: what exports look like (the client).

use super::choose;
use crate::args::{Import, ImportSource};
use crate::door::{DateOrder, Door, Format};
use crate::failure::Failure;
use crate::out::Out;
use crate::progress::Bar;
use crate::text::one_line;
use crate::{door, rows, show};
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

pub(super) async fn run(door: &Door, args: Import, out: &Out) -> Result<(), Failure> {
    let conversation = choose(door, &args.conversation).await?;
    let Some(file) = &args.file else {
        let source = match args.source {
            ImportSource::Whatsapp => Format::WhatsApp,
            ImportSource::Jsonl => Format::JsonLines,
        };
        let mapped = map(door, conversation, source, &args).await?;
        return out.rows(mapped.iter().cloned(), |_| {
            mapped.iter().map(|row| format!("{} is {}", one_line(&row.name), row.account)).collect()
        });
    };
    let export = match read(file, args.dates, &args, out).await {
        Err(Failure::Failed { code, message, .. }) if code == "ambiguous-dates" && may_ask(file, out) => {
            read(file, Some(ask(&message)?), &args, out).await?
        }
        other => other?,
    };
    let (source, names, total) = (export.format(), export.names(), export.len() as u64);
    // Before the messages, so that nobody sees them without; who is not there is said before anything is brought in.
    map(door, conversation, source, &args).await?;
    let bar = Bar::new(out.progress, "importing");
    let moving = bar.clone();
    let done = door.import(conversation, export, move |done| moving.set(done as u64, total)).await;
    bar.done();
    let done = done?;
    let row = rows::Imported::of(&done, source, names);
    let lines = words(&row);
    out.rows([row], |_| lines)?;
    for note in &done.notes {
        out.remark(&format!("note: {note}"));
    }
    Ok(())
}

async fn read(file: &Path, dates: Option<DateOrder>, args: &Import, out: &Out) -> Result<door::Export, Failure> {
    let (zone, fixed) = (out.style.zone.clone(), args.zone_offset);
    let offset_s = move |at_ms: u64| fixed.unwrap_or_else(|| zone.offset_s(at_ms));
    door::read_export(file.to_owned(), dates, offset_s).await
}

async fn map(
    door: &Door,
    conversation: door::ConversationId,
    source: Format,
    args: &Import,
) -> Result<Vec<rows::Mapped>, Failure> {
    let me = args.me.iter().map(|name| (name.clone(), None));
    let others = args.map.iter().map(|(name, person)| (name.clone(), Some(person.clone())));
    let mut mapped = Vec::new();
    for (name, person) in me.chain(others) {
        let account = door.map_imported(conversation, source, name.clone(), person).await?.to_string();
        mapped.push(rows::Mapped { name, account });
    }
    Ok(mapped)
}

/// Whether somebody is there to answer.
fn may_ask(file: &Path, out: &Out) -> bool {
    out.style.terminal && !out.json && file != Path::new("-") && std::io::stdin().is_terminal()
}

/// Asks which number is the day.
fn ask(question: &str) -> Result<DateOrder, Failure> {
    let mut errors = std::io::stderr().lock();
    let _ = writeln!(errors, "{}", one_line(question).replace("; nothing was imported", ""));
    loop {
        let _ = write!(errors, "Which order is right? (dmy, mdy, ymd; Enter to stop) ");
        let _ = errors.flush();
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer).map_err(|error| {
            Failure::new("input", format!("standard input cannot be read: {error}"), "say it with --dates")
        })?;
        if read == 0 || answer.trim().is_empty() {
            return Err(Failure::new("ambiguous-dates", "the order of dates was not said; nothing was imported", ""));
        }
        match answer.parse() {
            Ok(order) => return Ok(order),
            Err(words) => drop(writeln!(errors, "{words}")),
        }
    }
}

/// What was done, for people.
fn words(row: &rows::Imported) -> Vec<String> {
    let mut lines = vec![format!(
        "{} imported, {} skipped (here already, or no messages).",
        show::grouped(row.imported),
        show::grouped(row.skipped)
    )];
    let mut also = |count: u64, one: &str, several: &str| {
        if count > 0 {
            lines.push(format!("{} {}.", show::grouped(count), if count == 1 { one } else { several }));
        }
    };
    also(row.too_long, "message is too long and was left out", "messages are too long and were left out");
    also(row.attached, "file came along", "files came along");
    also(
        row.not_attached,
        "file did not come along; its name stands in the text",
        "files did not come along; their names stand in the texts",
    );
    also(row.omitted, "file was left out when the export was made", "files were left out when the export was made");
    lines
}
