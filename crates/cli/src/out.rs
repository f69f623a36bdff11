//! Writing: JSON lines or lines for people, on standard output; remarks on standard error.
//!
//! Not here: what stands in the lines (`rows.rs`, `show.rs`).

use crate::failure::Failure;
use crate::show::Style;
use crate::text::one_line;
use crate::zone::Zone;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Where results go.
pub(crate) struct Out {
    /// One JSON object a line.
    pub(crate) json: bool,
    /// How lines for people are drawn.
    pub(crate) style: Style,
    /// Whether somebody watches progress.
    pub(crate) progress: bool,
}

impl Out {
    /// Looks where the output goes.
    pub(crate) fn new(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = terminal && !set("NO_COLOR") && !dumb;
        let style = Style { terminal, colour, zone: Zone::local() };
        Self { json, style, progress: terminal && !json && io::stderr().is_terminal() && !dumb }
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
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
        Ok(())
    }

    /// Prints rows as JSON, or lines for people.
    pub(crate) fn rows<T: Serialize>(
        &self,
        rows: impl IntoIterator<Item = T>,
        lines: impl FnOnce(&Style) -> Vec<String>,
    ) -> Result<(), Failure> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        if self.json {
            for row in rows {
                serde_json::to_writer(&mut out, &row).map_err(io::Error::from)?;
                out.write_all(b"\n")?;
            }
        } else {
            for line in lines(&self.style) {
                out.write_all(line.as_bytes())?;
                out.write_all(b"\n")?;
            }
        }
        Ok(out.flush()?)
    }

    /// Says something beside the result.
    pub(crate) fn remark(&self, text: &str) {
        // If standard error is gone, nobody can be told.
        let _ = writeln!(io::stderr().lock(), "{}", one_line(text));
    }
}
