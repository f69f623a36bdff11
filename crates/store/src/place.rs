//! Display order, and places in it that survive whatever arrives meanwhile.
//!
//! Not here: rows (`views.rs`, `read.rs`).

use std::fmt;
use std::str::FromStr;
use tombolo_model::id::{hex, unhex};
use tombolo_model::{Hlc, OpId};

/// The two parts of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// Brought in from elsewhere; stands above everything written here, by claimed time.
    Imported = 0,
    /// Written here.
    Native = 1,
}

/// A place in display order. Its text form is the cursor that pages are asked for with; callers keep it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which part.
    pub section: Section,
    /// Native: the clock reading. Imported: the claimed time as a clock reading, whose counter says which of the messages
    /// of that time it is.
    pub at: u64,
    /// Imported: the reading of the op that brought it. Native: 0.
    pub sub: u64,
    /// The op.
    pub id: OpId,
}

impl Place {
    /// Of a message written here.
    #[must_use]
    pub fn native(hlc: Hlc, id: OpId) -> Self {
        Self { section: Section::Native, at: bounded(hlc.0), sub: 0, id }
    }

    /// Of an imported message: claimed **milliseconds** since 1970, its place among those of one claimed time, and the op
    /// that brought it. Lines without a rank, as older versions brought them, stand first, in the order in which they came;
    /// so do those from the 65,535th of one time on, at the end.
    #[must_use]
    pub fn imported(time_ms: u64, rank: Option<u64>, hlc: Hlc, id: OpId) -> Self {
        let among = rank.map_or(0, |rank| u16::try_from(rank.saturating_add(1)).unwrap_or(u16::MAX));
        Self { section: Section::Imported, at: bounded(Hlc::new(time_ms, among).0), sub: bounded(hlc.0), id }
    }

    /// A place right below: a page after it begins with what stands here.
    #[must_use]
    pub fn just_before(&self) -> Self {
        let mut id = self.id;
        for byte in id.0.iter_mut().rev() {
            let (less, borrowed) = byte.overflowing_sub(1);
            *byte = less;
            if !borrowed {
                break;
            }
        }
        Self { id, ..*self }
    }

    /// **Milliseconds** since 1970: when it was written, as its author says.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        Hlc(self.at).ms()
    }

    /// The clock reading of the op.
    #[must_use]
    pub fn hlc(&self) -> Hlc {
        match self.section {
            Section::Imported => Hlc(self.sub),
            Section::Native => Hlc(self.at),
        }
    }
}

/// Rows hold signed numbers; readings above are further away than any calendar.
fn bounded(reading: u64) -> u64 {
    reading.min(i64::MAX as u64)
}

/// A text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a place in a conversation: use one as it was printed")]
pub struct InvalidPlace;

/// First byte of the text form, so that a later form can be told apart.
const FORM: u8 = 1;
/// form, section, at, sub, id.
const PLACE_BYTES: usize = 1 + 1 + 8 + 8 + OpId::LEN;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(PLACE_BYTES);
        bytes.extend([FORM, self.section as u8]);
        bytes.extend(self.at.to_be_bytes());
        bytes.extend(self.sub.to_be_bytes());
        bytes.extend(self.id.0);
        f.write_str(&hex(&bytes))
    }
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let bytes: [u8; PLACE_BYTES] = unhex(text).map_err(|_| InvalidPlace)?;
        let number = |at: usize| bytes[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let section = match (bytes[0], bytes[1]) {
            (FORM, 0) => Section::Imported,
            (FORM, 1) => Section::Native,
            _ => return Err(InvalidPlace),
        };
        let id = OpId::try_from(&bytes[18..]).map_err(|_| InvalidPlace)?;
        let place = Self { section, at: number(2), sub: number(10), id };
        let possible = place.at <= i64::MAX as u64 && place.sub <= i64::MAX as u64;
        if possible { Ok(place) } else { Err(InvalidPlace) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_survive_as_text() {
        let native = Place::native(Hlc::new(5, 3), OpId([7; 32]));
        let imported = Place::imported(9, Some(3), Hlc::new(5, 4), OpId([8; 32]));
        for place in [native, imported] {
            assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
            assert_eq!(place.to_string().to_uppercase().parse::<Place>().unwrap(), place);
        }
        assert_eq!((native.time_ms(), native.hlc()), (5, Hlc::new(5, 3)));
        assert_eq!((imported.time_ms(), imported.hlc()), (9, Hlc::new(5, 4)));
        assert!(imported < native);
    }

    #[test]
    fn other_texts_are_no_places() {
        let text = Place::native(Hlc::new(5, 3), OpId([7; 32])).to_string();
        let other_form = format!("02{}", &text[2..]);
        let other_section = format!("0102{}", &text[4..]);
        let negative = format!("0101ff{}", &text[6..]);
        for wrong in ["", "x", &text[..98], &format!("{text}00"), &other_form, &other_section, &negative] {
            assert_eq!(wrong.parse::<Place>(), Err(InvalidPlace), "{wrong}");
        }
    }

    #[test]
    fn ranks_come_before_readings_and_never_change_the_time() {
        let at = |rank, hlc| Place::imported(9, rank, Hlc(hlc), OpId::ZERO);
        let order = [at(None, 7), at(Some(0), 9), at(Some(1), 3), at(Some(70_000), 1), at(Some(u64::MAX), 2)];
        assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
        assert!(order.iter().all(|place| place.time_ms() == 9));
        assert!(order[4] < Place::imported(10, None, Hlc(0), OpId::ZERO));
    }

    #[test]
    fn the_end_of_time_still_has_a_place() {
        let place = Place::imported(u64::MAX, Some(u64::MAX), Hlc(u64::MAX), OpId::ZERO);
        assert!(place.at <= i64::MAX as u64 && place.sub <= i64::MAX as u64);
        assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
    }
}
