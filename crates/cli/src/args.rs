//! What may be typed: commands, flags, their meaning in one line each.
//!
//! Only parsing. What a command does stands in `commands.rs`; what it prints in `rows.rs` (JSON) and `show.rs` (people).

mod reading;
mod storage;
mod talk;

pub(crate) use reading::{Reading, Tell};
pub(crate) use storage::Storage;
pub(crate) use talk::Talk;

use crate::door::DateOrder;
use crate::size;
use crate::span::{self, Span};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Write with others, online or not. Nothing is sent before it is safe on this device.
#[derive(Debug, Parser)]
#[command(name = "tombolo", version, max_term_width = 100, propagate_version = true, after_help = AFTER)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER: &str = "C is a conversation: its id, a beginning of its id that no other has, or its exact title.\n\
    Exit: 0 done, 1 failed (message and hint on standard error), 2 wrong usage.";

/// Flags that every command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Folder of the profile [default: the platform's data folder]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) home: Option<PathBuf>,
    /// Print one JSON object per line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Where secrets are kept; also TOMBOLO_KEY_STORE. `file` is a file in the home that only you may read: less safe
    #[arg(long, value_name = "WHERE", value_enum, global = true)]
    pub(crate) key_store: Option<KeyStore>,
}

/// Where secrets are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyStore {
    /// The keyring of the operating system (the default)
    Keyring,
    /// A file in the home that only you may read: the less safe choice
    File,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create your profile on this device
    Init {
        /// How others see you
        #[arg(long)]
        name: String,
        /// A relay that keeps and passes on what you write, without being able to read it
        #[arg(long, value_name = "URL")]
        relay: Option<String>,
    },
    /// Make a link: for a new conversation of two, or for one more person in a conversation
    Invite {
        /// The conversation to join; without it a new one for two people
        #[arg(long, value_name = "C")]
        conversation: Option<String>,
        /// How many people may use the link
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        uses: u32,
        /// How long the link works, such as 90m, 12h, 7d, 2w [default: until it is revoked]
        #[arg(long, value_name = "TIME", value_parser = span::parse)]
        expires: Option<Span>,
    },
    /// List the links that were made, or revoke one
    Invites {
        /// Only those of this conversation
        #[arg(long, value_name = "C")]
        conversation: Option<String>,
        /// End the link with this key (as listed)
        #[arg(long, value_name = "KEY")]
        revoke: Option<String>,
    },
    /// Join by a link
    Accept {
        /// tombolo:...
        link: String,
    },
    /// Create a conversation
    New {
        /// Its title
        title: String,
    },
    /// List your conversations
    List,
    /// Write; works offline
    Send {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
        /// The text, or - to read standard input, a line a message. `@Name` calls upon somebody
        #[arg(required_unless_present = "file")]
        text: Vec<String>,
        /// Answer this message
        #[arg(long, value_name = "MESSAGE")]
        answer: Option<String>,
        /// Quote this message (several times for several)
        #[arg(long, value_name = "MESSAGE")]
        quote: Vec<String>,
        /// A file to go with it; can be given several times
        #[arg(long, value_name = "PATH")]
        file: Vec<PathBuf>,
    },
    /// List files and where they are; or say how large they may be
    Files {
        /// Only those of this conversation
        #[arg(value_name = "C")]
        conversation: Option<String>,
        /// Up to this size files come by themselves, such as 16M; 0 = none does
        #[arg(long, value_name = "SIZE", value_parser = size::parse, conflicts_with = "conversation")]
        automatic: Option<u64>,
        /// How much of what came by itself may be here in all
        #[arg(long, value_name = "SIZE", value_parser = size::parse, conflicts_with = "conversation")]
        automatic_total: Option<u64>,
        /// The largest file that may be attached
        #[arg(long, value_name = "SIZE", value_parser = size::parse, conflicts_with = "conversation")]
        largest: Option<u64>,
    },
    /// Ask for a file, whatever its size
    Fetch {
        /// The message that carries it: its id, or a beginning of it that no other has
        message: String,
        /// Which of its files
        #[arg(default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        n: u32,
    },
    /// Put a file where you want it
    Save {
        /// The message that carries it: its id, or a beginning of it that no other has
        message: String,
        /// Which of its files
        #[arg(default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        n: u32,
        /// A folder, or the name of the file to make
        #[arg(long, value_name = "PATH")]
        to: PathBuf,
        /// Replace what is there
        #[arg(long)]
        overwrite: bool,
    },
    /// Read: oldest first, newest last
    Messages {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Only what stands before this message: its id, as printed
        #[arg(long, value_name = "CURSOR")]
        before: Option<String>,
        /// Also print the beginnings of ids, to name messages by
        #[arg(long)]
        ids: bool,
        /// Leave them unread
        #[arg(long)]
        keep_unread: bool,
    },
    /// Find messages, newest first
    Search(Search),
    /// Try again now to bring out what nobody else holds: the same as `sync`
    Retry,
    /// Who takes part in a conversation
    Members {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
    },
    #[command(flatten)]
    Reading(Reading),
    #[command(flatten)]
    Storage(Storage),
    #[command(flatten)]
    Talk(Talk),
    /// Exchange with relays and peers until nothing is missing
    Sync {
        /// Only with this relay [default: yours and those of your conversations]
        #[arg(long, value_name = "URL")]
        relay: Option<String>,
        /// Only with this device, which listens there (`tombolo listen`)
        #[arg(long, value_name = "ADDR")]
        peer: Option<String>,
        /// One attempt; do not wait for a relay that is not there
        #[arg(long)]
        once: bool,
        /// Believe a relay whose key is another than before: it was replaced on purpose
        #[arg(long)]
        trust: bool,
    },
    /// Stay connected and print what happens
    Watch {
        /// Only this conversation
        #[arg(value_name = "C")]
        conversation: Option<String>,
    },
    /// Open the interface in a browser tab, on this machine alone
    Web {
        /// Where it is served; 0 picks a free port
        #[arg(long, value_name = "PORT", default_value_t = 0)]
        port: u16,
    },
    /// Accept other devices directly, without a relay
    Listen {
        /// Where; port 0 picks a free one
        #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:0")]
        addr: String,
    },
    /// Print digest and number of ops: equal digests mean equal histories
    Digest {
        /// Only this conversation
        #[arg(value_name = "C")]
        conversation: Option<String>,
    },
    /// Bring in a history: a chat exported from WhatsApp (.txt or .zip), or JSON Lines {t, who, text}
    Import(Import),
    /// Print all messages as JSON Lines {t, who, text, ...}, which `import` reads
    Export {
        /// The conversation
        #[arg(value_name = "C")]
        conversation: String,
        /// Write a page to read and print instead: one file that needs nothing else
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Put everything on this device into one sealed file; prints the key that opens it, once
    Backup {
        /// A new file
        file: PathBuf,
    },
    /// Make a profile of a backup, on a fresh machine: a new device of your account
    Restore {
        /// The file that `backup` made
        file: PathBuf,
        /// A file with the backup key [default: asked for, or the first line of standard input]
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Check everything that is stored
    Doctor {
        /// Fetch again what is damaged, and rebuild what can be rebuilt
        #[arg(long)]
        repair: bool,
    },
}

/// What is searched for.
#[derive(Debug, Args)]
pub(crate) struct Search {
    /// Words; each finds what begins with it, all must be there, "in quotes" they follow each other
    pub(crate) words: Vec<String>,
    /// Only in this conversation
    #[arg(long = "in", value_name = "C")]
    pub(crate) conversation: Option<String>,
    /// Only what this person wrote: a name or an account
    #[arg(long, value_name = "WHO")]
    pub(crate) from: Option<String>,
    /// Only from this date on, such as 2026-11-26
    #[arg(long, value_name = "DATE", value_parser = crate::calendar::parse_date)]
    pub(crate) after: Option<i64>,
    /// Only before this date
    #[arg(long, value_name = "DATE", value_parser = crate::calendar::parse_date)]
    pub(crate) before: Option<i64>,
    /// Only messages with this
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) has: Option<Has>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) limit: u32,
    /// Go on behind a hit: its number, as `--json` prints it
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) more: Option<i64>,
}

/// What a message may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Has {
    /// A file
    File,
}

impl Command {
    /// Reads paths as seen from another folder: that of the process that the command was typed into.
    #[cfg(unix)]
    pub(crate) fn seen_from(&mut self, folder: &std::path::Path) {
        match self {
            Self::Send { file, .. } => file.iter_mut().for_each(|path| *path = folder.join(&*path)),
            Self::Save { to, .. } => *to = folder.join(&*to),
            _ => {}
        }
    }
}

/// What `import` takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Import {
    /// The conversation
    #[arg(value_name = "C")]
    pub(crate) conversation: String,
    /// The file, or - for standard input; without one only names are mapped
    #[arg(required_unless_present_any = ["me", "map"])]
    pub(crate) file: Option<PathBuf>,
    /// The order of day, month and year in the file, where its dates do not say it: dmy, mdy or ymd
    #[arg(long, value_name = "ORDER")]
    pub(crate) dates: Option<DateOrder>,
    /// How far the times in the file are ahead of UTC, such as +02:00 [default: local time of this device]
    #[arg(long, value_name = "OFFSET", allow_hyphen_values = true, value_parser = span::offset)]
    pub(crate) zone_offset: Option<i32>,
    /// This name in the file is you
    #[arg(long, value_name = "NAME")]
    pub(crate) me: Vec<String>,
    /// This name in the file is that member: a name in the conversation, or the beginning of an account's id
    #[arg(long, value_name = "NAME=PERSON", value_parser = pair)]
    pub(crate) map: Vec<(String, String)>,
    /// With no file: which program's names are mapped
    #[arg(long, value_name = "WHICH", value_enum, default_value = "whatsapp", conflicts_with = "file")]
    pub(crate) source: ImportSource,
}

/// Programs whose exports are imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportSource {
    /// WhatsApp
    Whatsapp,
    /// JSON Lines
    Jsonl,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, person)) if !name.is_empty() && !person.is_empty() => Ok((name.into(), person.into())),
        _ => Err("write it as NAME=PERSON".into()),
    }
}

impl Global {
    /// The place for secrets: the flag, else what the environment says.
    ///
    /// # Errors
    /// A sentence, when the environment says something else than a place.
    pub(crate) fn key_store(&self, environment: Option<&str>) -> Result<KeyStore, String> {
        if let Some(chosen) = self.key_store {
            return Ok(chosen);
        }
        match environment {
            None | Some("") => Ok(KeyStore::Keyring),
            Some(text) => KeyStore::from_str(text, false)
                .map_err(|_| format!("TOMBOLO_KEY_STORE is `{text}`; it may be keyring or file")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("tombolo").chain(words.iter().copied()))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for words in [&["--json", "--home", "h", "list"][..], &["list", "--home", "h", "--json"]] {
            let cli = parse(words).unwrap();
            assert!(cli.global.json);
            assert_eq!(cli.global.home, Some(PathBuf::from("h")));
            assert!(matches!(cli.command, Command::List));
        }
    }

    #[test]
    fn texts_are_words_or_standard_input() {
        let Command::Send { conversation, text, .. } = parse(&["send", "C", "hello", "sea"]).unwrap().command else {
            panic!("not send")
        };
        assert_eq!((conversation.as_str(), text.join(" ").as_str()), ("C", "hello sea"));
        let Command::Send { text, .. } = parse(&["send", "C", "-"]).unwrap().command else { panic!("not send") };
        assert_eq!(text, ["-"]);
        let Command::Send { text, .. } = parse(&["send", "C", "--", "-5 degrees"]).unwrap().command else {
            panic!("not send")
        };
        assert_eq!(text, ["-5 degrees"]);
        // A flag after the text is a flag, never part of the message.
        assert!(parse(&["send", "C", "hello", "--json"]).unwrap().global.json);
        assert_eq!(parse(&["send", "C"]).unwrap_err().kind(), ErrorKind::MissingRequiredArgument);
    }

    #[test]
    fn every_command_of_the_table_is_understood() {
        for words in [
            &["init", "--name", "Ana"][..],
            &["init", "--name", "Ana", "--relay", "ws://127.0.0.1:1"],
            &["invite"],
            &["invite", "--conversation", "C", "--uses", "3", "--expires", "7d"],
            &["invites"],
            &["invites", "--conversation", "C", "--revoke", "ab"],
            &["accept", "tombolo:x"],
            &["new", "Harbour crew"],
            &["list"],
            &["messages", "C", "--limit", "5", "--before", "x"],
            &["sync", "--relay", "ws://127.0.0.1:1", "--peer", "127.0.0.1:1", "--once"],
            &["send", "C", "--file", "a", "--file", "b"],
            &["send", "C", "look", "--file", "a"],
            &["files"],
            &["files", "C"],
            &["files", "--automatic", "16M", "--automatic-total", "2G", "--largest", "1G"],
            &["fetch", "ab", "2"],
            &["save", "ab", "--to", "here"],
            &["save", "ab", "2", "--to", "here", "--overwrite"],
            &["watch"],
            &["watch", "C"],
            &["listen", "--addr", "127.0.0.1:0"],
            &["digest"],
            &["digest", "C"],
            &["import", "C", "file.jsonl"],
            &["import", "C", "-"],
            &[
                "import",
                "C",
                "chat.zip",
                "--dates",
                "dmy",
                "--zone-offset",
                "-03:30",
                "--me",
                "Ana",
                "--map",
                "Ben=Benjamin",
            ],
            &["import", "C", "--map", "Ben=Benjamin", "--source", "jsonl"],
            &["export", "C"],
            &["export", "C", "--html", "crew.html"],
            &["doctor", "--repair"],
            &["messages", "C", "--keep-unread"],
            &["read", "C"],
            &["read", "C", "--up-to", "ab"],
            &["unread", "C", "ab"],
            &["receipts", "ab"],
            &["receipts", "--tell", "no"],
            &["typing", "C"],
            &["backup", "file"],
            &["restore", "file", "--key-file", "key"],
        ] {
            assert!(parse(words).is_ok(), "{words:?}");
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        for words in [
            &[][..],
            &["nothing"],
            &["init"],
            &["new"],
            &["messages"],
            &["messages", "C", "--limit", "0"],
            &["messages", "C", "--limit", "many"],
            &["invite", "--uses", "0"],
            &["invite", "--expires", "soon"],
            &["list", "--key-store", "pocket"],
            &["import", "C"],
            &["receipts"],
            &["receipts", "ab", "--tell", "no"],
            &["unread", "C"],
            &["save", "ab"],
            &["fetch", "ab", "0"],
            &["files", "--automatic", "much"],
            &["import", "C", "f", "--dates", "myd"],
            &["import", "C", "f", "--zone-offset", "noon"],
            &["import", "C", "f", "--map", "Ben"],
        ] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }

    #[test]
    fn the_flag_wins_over_the_environment() {
        let global = |words: &[&str]| parse(words).unwrap().global;
        let file = global(&["list", "--key-store", "file"]);
        assert_eq!(file.key_store(Some("keyring")), Ok(KeyStore::File));
        let silent = global(&["list"]);
        assert_eq!(silent.key_store(None), Ok(KeyStore::Keyring));
        assert_eq!(silent.key_store(Some("")), Ok(KeyStore::Keyring));
        assert_eq!(silent.key_store(Some("file")), Ok(KeyStore::File));
        assert!(silent.key_store(Some("pocket")).unwrap_err().contains("TOMBOLO_KEY_STORE"));
    }
}
