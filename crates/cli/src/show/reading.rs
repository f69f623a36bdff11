//! Who has received and read a message, line by line.

use super::{Ink, Style};
use crate::door::Receipt;
use crate::text::one_line;

/// Receipts.
pub(crate) fn receipts(found: &[Receipt], style: &Style) -> Vec<String> {
    if found.is_empty() && style.terminal {
        let words = "Nobody is named here: in conversations of more than 50 people readers are not told.";
        return vec![style.paint(Ink::Quiet, words)];
    }
    let line = |receipt: &Receipt| {
        let word = match (receipt.read, receipt.delivered) {
            (true, _) => "read",
            (false, true) => "delivered",
            (false, false) => "not yet",
        };
        let name = if receipt.own { "You".to_owned() } else { one_line(&receipt.name) };
        format!("{word:<9}  {name}")
    };
    found.iter().map(line).collect()
}
