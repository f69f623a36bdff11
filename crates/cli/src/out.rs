//! Writing: JSON lines or lines for people, on standard output; remarks on standard error.
//!
//! Not here: what stands in the lines (`rows.rs`, `show.rs`).

use crate::failure::Failure;
use crate::show::Style;
use crate::text::one_line;
use crate::zone::Zone;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;

/// **Bytes** that are printed at once.
const BLOCK_BYTES: usize = 32 * 1024;

/// Where results go.
pub(crate) struct Out {
    /// One JSON object a line.
    pub(crate) json: bool,
    /// How lines for people are drawn.
    pub(crate) style: Style,
    /// Whether somebody watches progress.
    pub(crate) progress: bool,
    /// Collects output and remarks instead of printing them, for a command that another process typed.
    kept: Option<Mutex<(Vec<u8>, String)>>,
}

impl Out {
    /// Looks where the output goes.
    pub(crate) fn new(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = terminal && !set("NO_COLOR") && !dumb;
        let style = Style { terminal, colour, zone: Zone::local() };
        let progress = terminal && !json && io::stderr().is_terminal() && !dumb;
        Self { json, style, progress, kept: None }
    }

    /// Collects what is printed.
    #[cfg(unix)]
    pub(crate) fn buffered(json: bool) -> Self {
        let style = Style { terminal: false, colour: false, zone: Zone::local() };
        Self { json, style, progress: false, kept: Some(Mutex::default()) }
    }

    /// What was collected: output and remarks.
    #[cfg(unix)]
    pub(crate) fn taken(self) -> (String, String) {
        let kept = self.kept.and_then(|kept| kept.into_inner().ok()).unwrap_or_default();
        (String::from_utf8_lossy(&kept.0).into_owned(), kept.1)
    }

    /// Prints text as it is.
    #[cfg(unix)]
    pub(crate) fn raw(&self, text: &str) -> Result<(), Failure> {
        self.put(text.as_bytes())
    }

    fn put(&self, bytes: &[u8]) -> Result<(), Failure> {
        match self.kept.as_ref().and_then(|kept| kept.lock().ok()) {
            Some(mut kept) => kept.0.extend_from_slice(bytes),
            None => io::stdout().lock().write_all(bytes)?,
        }
        Ok(())
    }

    /// Prints one object, as the only thing on its line.
    pub(crate) fn row(&self, row: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(row).map_err(|error| {
            Failure::new("output", error.to_string(), "this is a fault of the program: please report it")
        })?;
        self.line(&text)
    }

    /// Prints a line.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        self.put(format!("{text}\n").as_bytes())
    }

    /// Prints rows as JSON, or lines for people.
    pub(crate) fn rows<T: Serialize>(
        &self,
        rows: impl IntoIterator<Item = T>,
        lines: impl FnOnce(&Style) -> Vec<String>,
    ) -> Result<(), Failure> {
        self.rows_as(self.json, rows, lines)
    }

    /// As [`Out::rows`], as JSON or not whatever was asked for.
    pub(crate) fn rows_as<T: Serialize>(
        &self,
        json: bool,
        rows: impl IntoIterator<Item = T>,
        lines: impl FnOnce(&Style) -> Vec<String>,
    ) -> Result<(), Failure> {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        if json {
            for row in rows {
                serde_json::to_writer(&mut block, &row).map_err(io::Error::from)?;
                block.push(b'\n');
                if block.len() >= BLOCK_BYTES {
                    self.put(&block)?;
                    block.clear();
                }
            }
        } else {
            for line in lines(&self.style) {
                block.extend_from_slice(line.as_bytes());
                block.push(b'\n');
            }
        }
        self.put(&block)?;
        if self.kept.is_none() {
            io::stdout().lock().flush()?;
        }
        Ok(())
    }

    /// Says something beside the result.
    pub(crate) fn remark(&self, text: &str) {
        if let Some(mut kept) = self.kept.as_ref().and_then(|kept| kept.lock().ok()) {
            kept.1.push_str(&one_line(text));
            kept.1.push('\n');
            return;
        }
        // If standard error is gone, nobody can be told.
        let _ = writeln!(io::stderr().lock(), "{}", one_line(text));
    }
}
