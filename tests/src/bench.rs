//! Speed and size of the product, as ratios taken in one run against a baseline of this very machine.
//!
//! Responsible for: the rows, the table on the screen, the JSON lines, which rows are run. What each row measures, what
//! it counts and what it leaves out stands at the head of its own file. Not here: judging a change over time.
//!
//! Every baseline is below 60 lines and says its settings before its row. Texts are random and incompressible, written by
//! [`AUTHORS`] interleaved authors ([`corpus`]). On a busy machine only the ratios mean something: both sides of one are
//! taken turn by turn.
//!
//! Read next: [`corpus`], then [`writing`] (send, ingest), [`wire`] (wire, reconnect), [`opening`], [`differences`]
//! (with [`memory`]), [`network`] (heal, live), [`reading`] (receipts, crowd), [`files`] (file), [`text`], [`talking`]
//! (page, reaction), [`search`], [`homes`] (profiles with a history), [`baseline`].

pub mod baseline;
pub mod corpus;
pub mod differences;
pub mod files;
pub mod homes;
pub mod memory;
pub mod network;
pub mod opening;
pub mod reading;
pub mod search;
pub mod talking;
pub mod text;
pub mod wire;
pub mod writing;

use std::error::Error;
use std::path::PathBuf;

/// What a measurement returns: any failure ends the run.
pub type Measured<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// People who write, interleaved.
pub const AUTHORS: usize = 20;
/// **Bytes** of a text.
pub const TEXT_BYTES: usize = 80;

/// How large a run is.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Small sizes: shows that every row runs; bounds on times do not count.
    pub smoke: bool,
    /// Where large stores are kept between runs.
    pub cache: PathBuf,
}

impl Scale {
    /// The full size, or a small one in a smoke run.
    #[must_use]
    pub fn pick(&self, full: usize, smoke: usize) -> usize {
        if self.smoke { smoke } else { full }
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// What came out, in `unit`.
    pub value: f64,
    /// Of value and baseline, with what else must be known to read them.
    pub unit: String,
    /// What it is compared with, in `unit`; `None` where the bound is absolute.
    pub baseline: Option<f64>,
    /// The number that the bound is about, where that is a ratio.
    pub ratio: Option<f64>,
    /// What must hold, in words.
    pub bound: String,
    /// Whether it does. In a smoke run bounds on times are not judged and count as held.
    pub holds: bool,
}

impl Row {
    /// The row as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.name, "value": self.value, "unit": self.unit, "baseline": self.baseline,
            "ratio": self.ratio, "bound": self.bound, "holds": self.holds,
        })
    }
}

/// All rows, in the order in which they run.
pub const NAMES: [&str; 15] = [
    "send",
    "ingest",
    "wire",
    "open",
    "reconnect",
    "differences",
    "heal",
    "live",
    "receipts",
    "crowd",
    "file",
    "text",
    "page",
    "reaction",
    "search",
];

/// Runs the named rows, or all, and hands each row out as it is known.
///
/// # Errors
/// An unknown name; the first failure of a measurement.
pub fn run(names: &[String], scale: &Scale, mut each: impl FnMut(Row)) -> Measured<()> {
    if let Some(unknown) = names.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(format!("there is no row `{unknown}`; there are: {}", NAMES.join(", ")).into());
    }
    for name in NAMES.iter().filter(|name| names.is_empty() || names.iter().any(|wanted| wanted == **name)) {
        match *name {
            "send" => each(writing::send(scale)?),
            "ingest" => each(writing::ingest(scale)?),
            "wire" => each(wire::catch_up(scale)?),
            "open" => opening::open(scale)?.into_iter().for_each(&mut each),
            "reconnect" => each(wire::reconnect(scale)?),
            "differences" => differences::differences(scale, &mut each)?,
            "text" => each(text::text(scale)?),
            "heal" => network::heal(scale)?.into_iter().for_each(&mut each),
            "receipts" => reading::receipts(scale)?.into_iter().for_each(&mut each),
            "crowd" => reading::crowd(scale)?.into_iter().for_each(&mut each),
            "file" => each(files::file(scale)?),
            "page" => each(talking::page(scale)?),
            "search" => search::search(scale)?.into_iter().for_each(&mut each),
            "reaction" => talking::reaction(scale)?.into_iter().for_each(&mut each),
            _ => each(network::live(scale)?),
        }
    }
    Ok(())
}

/// The head of the table.
#[must_use]
pub fn head() -> String {
    line("name", "value", "baseline", "ratio", "holds", "unit", "bound")
}

/// A row of the table. In a smoke run nothing that holds says so: the sizes are too small to tell.
#[must_use]
pub fn show(row: &Row, smoke: bool) -> String {
    let number = |value: f64| {
        if value.fract() == 0.0 || value.abs() >= 1e4 { format!("{value:.0}") } else { format!("{value:.3}") }
    };
    line(
        &row.name,
        &number(row.value),
        &row.baseline.map_or_else(|| "-".into(), number),
        &row.ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.3}")),
        match row.holds {
            true if smoke => "-",
            true => "yes",
            false => "NO",
        },
        &row.unit,
        &row.bound,
    )
}

fn line(name: &str, value: &str, baseline: &str, ratio: &str, holds: &str, unit: &str, bound: &str) -> String {
    format!("{name:<40} {value:>10} {baseline:>10} {ratio:>7} {holds:>5}  {unit} | {bound}")
}

/// The middle one.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
