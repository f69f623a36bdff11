//! The link that lets somebody in: `tombolo:` and base64url of a few hundred bytes.
//!
//! It carries the secret key of the invitation and the secret of the conversation: whoever holds it can join and read. So
//! it is never logged, `Debug` hides it, and what was read from it is wiped when dropped.
//!
//! ```text
//! version 1 | conversation 16 | invite op 32 | its hlc 8 | invite seed 32 | conversation secret 32 | kind 1
//! | relays: count, each key 32, url and region length-prefixed | checksum 4
//! ```
//!
//! The checksum is there to tell a link that was copied badly from a forged one, in every version.

use crate::base64url;
use crate::body::ConversationSecret;
use core::{fmt, str::FromStr};
use tombolo_identity::InviteKey;
use tombolo_model::codec::{Malformed, Reader, put_bytes, put_varint};
use tombolo_model::control::Kind;
use tombolo_model::limit::{ADDRESS_BYTES_MAX, RELAYS_MAX};
use tombolo_model::{ConversationId, Hlc, OpId, RelayAddress};
use zeroize::Zeroizing;

/// What every link begins with.
pub const SCHEME: &str = "tombolo:";
/// Longest link in **characters**: 16 relays with the longest addresses. Two ordinary relays take about 400.
pub const LINK_CHARS_MAX: usize = 12 * 1024;

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;

/// Why a text is not an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInvitation {
    /// Something else.
    #[error("this is not an invitation: a link that begins with `tombolo:` is needed")]
    NotALink,
    /// Longer than any link.
    #[error("this is too long for an invitation: at most {LINK_CHARS_MAX} characters; copy the link alone")]
    TooLong,
    /// Characters are missing, changed or added.
    #[error("this invitation was not copied whole: characters are missing or changed; copy it again")]
    Damaged,
    /// Made by a newer version.
    #[error("this invitation is of a newer format ({0}): update this program")]
    Newer(u8),
    /// Copied whole, but not made by this program.
    #[error("this invitation was not made by a correct program ({0}): ask for another one")]
    Malformed(#[from] Malformed),
    /// It names a relay that cannot be one.
    #[error(
        "this invitation names a relay whose address is not of the form ws://HOST:PORT or wss://HOST: ask for another one"
    )]
    RelayAddress,
}

/// What a link says.
#[derive(Clone)]
pub struct Invitation {
    /// The conversation to join.
    pub conversation: ConversationId,
    /// The op that certifies the invitation's key: the parent of the join.
    pub invite_op: OpId,
    /// That op's clock reading: the join's must be above it.
    pub invite_hlc: Hlc,
    /// The secret half of the invitation's key.
    pub invite_seed: Zeroizing<[u8; 32]>,
    /// What bodies are sealed with.
    pub secret: ConversationSecret,
    /// What kind of conversation it is.
    pub kind: Kind,
    /// Where it is kept, at most [`RELAYS_MAX`].
    pub relays: Vec<RelayAddress>,
}

impl Invitation {
    /// The key that proves the invitation.
    #[must_use]
    pub fn key(&self) -> InviteKey {
        InviteKey::from_seed(*self.invite_seed)
    }

    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let relays: usize = self.relays.iter().map(|relay| 36 + relay.url.len() + relay.region.len()).sum();
        // Large enough from the start: growing would leave copies of the secrets behind.
        let mut out = Zeroizing::new(Vec::with_capacity(130 + relays));
        out.push(VERSION);
        out.extend_from_slice(&self.conversation.0);
        out.extend_from_slice(&self.invite_op.0);
        out.extend_from_slice(&self.invite_hlc.0.to_be_bytes());
        out.extend_from_slice(&*self.invite_seed);
        out.extend_from_slice(self.secret.expose());
        out.push(self.kind as u8);
        put_varint(&mut out, self.relays.len() as u64);
        for relay in &self.relays {
            out.extend_from_slice(&relay.key);
            put_bytes(&mut out, relay.url.as_bytes());
            put_bytes(&mut out, relay.region.as_bytes());
        }
        let checksum = checksum(&out);
        out.extend_from_slice(&checksum);
        out
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidInvitation> {
        let (bytes, sum) =
            bytes.len().checked_sub(CHECKSUM_BYTES).map(|at| bytes.split_at(at)).ok_or(InvalidInvitation::Damaged)?;
        if checksum(bytes) != sum {
            return Err(InvalidInvitation::Damaged);
        }
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(InvalidInvitation::Newer(version));
        }
        let invitation = Self {
            conversation: ConversationId(reader.array()?),
            invite_op: OpId(reader.array()?),
            invite_hlc: Hlc(reader.u64()?),
            invite_seed: Zeroizing::new(reader.array()?),
            secret: ConversationSecret::new(reader.array()?),
            kind: match reader.u8()? {
                0 => Kind::Group,
                1 => Kind::Direct,
                2 => Kind::Own,
                _ => return Err(Malformed::Unknown("kind").into()),
            },
            relays: read_relays(&mut reader)?,
        };
        reader.finish()?;
        Ok(invitation)
    }
}

fn read_relays(reader: &mut Reader<'_>) -> Result<Vec<RelayAddress>, InvalidInvitation> {
    let count = reader.count(RELAYS_MAX, "relays")?;
    (0..count)
        .map(|_| {
            let key = reader.array()?;
            let mut text = |what| {
                let bytes = reader.bytes(ADDRESS_BYTES_MAX, what)?;
                core::str::from_utf8(bytes).map(String::from).map_err(|_| Malformed::NotCanonical(what))
            };
            let (url, region) = (text("relay address")?, text("region")?);
            if !is_relay_url(&url) || region.chars().any(char::is_control) {
                return Err(InvalidInvitation::RelayAddress);
            }
            Ok(RelayAddress { key, url, region })
        })
        .collect()
}

/// Whether a text can be a relay's address: `ws://` or `wss://`, a host, printable ASCII. It is shown on terminals and
/// connected to, and it came from a stranger.
#[must_use]
pub fn is_relay_url(url: &str) -> bool {
    let host = url.strip_prefix("wss://").or_else(|| url.strip_prefix("ws://")).unwrap_or("");
    url.len() <= ADDRESS_BYTES_MAX
        && host.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[')
        && host.bytes().all(|byte| byte.is_ascii_graphic())
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    // Short enough to be read off the link, and of secret bytes: so it must not tell anything about them to someone who
    // sees only a part of the link. 32 bits of a hash over 256 bits of secret do not.
    let mut hasher = Zeroizing::new(blake3::Hasher::new_derive_key("tombolo 1 invitation checksum"));
    hasher.update(bytes);
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM_BYTES]);
    sum
}

/// The link, with its secrets: for the person who hands it on, never for a log.
impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        base64url::encode(&self.to_bytes(), f)
    }
}

impl FromStr for Invitation {
    type Err = InvalidInvitation;

    /// Reads a link. White space is ignored, also inside: mail programs break lines.
    fn from_str(text: &str) -> Result<Self, InvalidInvitation> {
        let text = text.trim();
        let (scheme, rest) = text.split_at_checked(SCHEME.len()).ok_or(InvalidInvitation::NotALink)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(InvalidInvitation::NotALink);
        }
        if text.len() > LINK_CHARS_MAX {
            return Err(InvalidInvitation::TooLong);
        }
        let mut digits = Zeroizing::new(Vec::with_capacity(rest.len()));
        digits.extend(rest.bytes().filter(|byte| !byte.is_ascii_whitespace()));
        let mut bytes = Zeroizing::new(Vec::with_capacity(rest.len()));
        base64url::decode(&digits, &mut *bytes).ok_or(InvalidInvitation::Damaged)?;
        Self::from_bytes(&bytes)
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation")
            .field("conversation", &self.conversation)
            .field("invite_op", &self.invite_op)
            .field("kind", &self.kind)
            .field("relays", &self.relays)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn invitation(relays: usize) -> Invitation {
        let relay = RelayAddress { key: [4; 32], url: "wss://relay.example.org:8443".into(), region: "eu".into() };
        Invitation {
            conversation: ConversationId([1; 16]),
            invite_op: OpId([2; 32]),
            invite_hlc: Hlc::new(1_700_000_000_000, 3),
            invite_seed: Zeroizing::new([0xa1; 32]),
            secret: ConversationSecret::new([0xa2; 32]),
            kind: Kind::Direct,
            relays: vec![relay; relays],
        }
    }

    /// A link with correct checksum over whatever `change` does to the bytes before it.
    fn forged(change: impl Fn(&mut Vec<u8>)) -> String {
        let mut bytes = invitation(1).to_bytes().to_vec();
        bytes.truncate(bytes.len() - CHECKSUM_BYTES);
        change(&mut bytes);
        let sum = checksum(&bytes);
        bytes.extend(sum);
        let mut link = SCHEME.to_string();
        base64url::encode(&bytes, &mut link).unwrap();
        link
    }

    fn error(link: &str) -> InvalidInvitation {
        link.parse::<Invitation>().unwrap_err()
    }

    #[test]
    fn a_link_says_what_was_put_in() {
        for relays in [0, 1, 2, RELAYS_MAX] {
            let (there, link) = (invitation(relays), invitation(relays).to_string());
            let back: Invitation = link.parse().unwrap();
            assert_eq!(back.to_string(), link);
            assert_eq!(
                (back.conversation, back.invite_op, back.invite_hlc, back.kind, &back.relays),
                (there.conversation, there.invite_op, there.invite_hlc, there.kind, &there.relays)
            );
            assert_eq!((*back.invite_seed, back.secret.expose()), (*there.invite_seed, there.secret.expose()));
            assert_eq!(back.key().public(), InviteKey::from_seed([0xa1; 32]).public());
        }
    }

    #[test]
    fn a_link_with_two_relays_fits_a_message() {
        let chars = invitation(2).to_string().len();
        assert!(chars < 400, "{chars} characters");
        let mut longest = invitation(RELAYS_MAX);
        for relay in &mut longest.relays {
            relay.url = format!("ws://{}", "x".repeat(ADDRESS_BYTES_MAX - 5));
            relay.region = "y".repeat(ADDRESS_BYTES_MAX);
        }
        assert!(longest.to_string().len() <= LINK_CHARS_MAX);
        assert!(longest.to_string().parse::<Invitation>().is_ok());
    }

    #[test]
    fn white_space_and_case_of_the_scheme_do_not_matter() {
        let link = invitation(1).to_string();
        let broken = format!("  TOMBOLO:{}\r\n {}\n", &link[SCHEME.len()..60], &link[60..]);
        assert_eq!(broken.parse::<Invitation>().unwrap().to_string(), link);
    }

    #[test]
    fn every_changed_or_missing_character_is_noticed() {
        let link = invitation(1).to_string();
        for at in SCHEME.len()..link.len() {
            let mut changed = link.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(error(core::str::from_utf8(&changed).unwrap()), InvalidInvitation::Damaged);
            assert_eq!(error(&link[..at]), InvalidInvitation::Damaged);
        }
        assert_eq!(error(&format!("{link}AAAA")), InvalidInvitation::Damaged);
        assert_eq!(error(&format!("{link}?")), InvalidInvitation::Damaged);
        assert_eq!(error(&format!("{link}\u{e9}")), InvalidInvitation::Damaged);
    }

    #[test]
    fn hostile_links_are_named() {
        for text in ["", "tombolo", "https://example.org", "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}", "tombol\u{e9}x"] {
            assert_eq!(error(text), InvalidInvitation::NotALink);
        }
        assert_eq!(error(&format!("{SCHEME}{}", "A".repeat(LINK_CHARS_MAX))), InvalidInvitation::TooLong);
        assert_eq!(error(&forged(|bytes| bytes[0] = 2)), InvalidInvitation::Newer(2));
        assert_eq!(error(&forged(|bytes| bytes.push(0))), InvalidInvitation::Malformed(Malformed::Trailing));
        assert_eq!(error(&forged(|bytes| bytes.truncate(90))), InvalidInvitation::Malformed(Malformed::Truncated));
        assert_eq!(error(&forged(Vec::clear)), InvalidInvitation::Malformed(Malformed::Truncated));
        assert_eq!(error(&forged(|bytes| bytes[121] = 9)), InvalidInvitation::Malformed(Malformed::Unknown("kind")));
        let flood = |bytes: &mut Vec<u8>| bytes[122] = RELAYS_MAX as u8 + 1;
        assert_eq!(error(&forged(flood)), InvalidInvitation::Malformed(Malformed::TooLarge("relays")));
        let not_text = |bytes: &mut Vec<u8>| bytes[160] = 0xff;
        assert_eq!(error(&forged(not_text)), InvalidInvitation::Malformed(Malformed::NotCanonical("relay address")));
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for url in ["", "ws://", "http://host", "ws:///path", "ws:// host", "wss://h\u{1b}[2J", "ws://-x", "file:///"] {
            let mut hostile = invitation(1);
            hostile.relays[0].url = url.into();
            assert_eq!(error(&hostile.to_string()), InvalidInvitation::RelayAddress, "{url:?}");
        }
        let mut hostile = invitation(1);
        hostile.relays[0].region = "eu\u{1b}[2J".into();
        assert_eq!(error(&hostile.to_string()), InvalidInvitation::RelayAddress);
        for url in ["ws://127.0.0.1:9", "ws://[::1]:9", "wss://relay.example.org"] {
            assert!(is_relay_url(url), "{url}");
        }
    }

    #[test]
    fn debug_hides_the_secrets() {
        let shown = format!("{:?}", invitation(1));
        assert!(shown.contains("relay.example.org"));
        for hidden in ["a1a1", "a2a2", "161, 161", "162, 162"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }
}
