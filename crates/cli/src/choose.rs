//! Which conversation somebody means: by id, by the beginning of an id, or by title.

use crate::door::{ConversationId, ConversationRow};
use crate::failure::Failure;
use crate::text::one_line;

/// Candidates that an ambiguous name lists.
const LISTED_MAX: usize = 8;

/// A whole id first, then an exact title, then a beginning of an id that only one has.
///
/// # Errors
/// `unknown-conversation` and `ambiguous`, each with what there is.
pub(crate) fn conversation(name: &str, rows: &[ConversationRow]) -> Result<ConversationId, Failure> {
    let name = name.trim();
    if let Ok(id) = name.parse::<ConversationId>()
        && rows.iter().any(|row| row.id == id)
    {
        return Ok(id);
    }
    let titled: Vec<&ConversationRow> =
        rows.iter().filter(|row| !name.is_empty() && row.title.trim() == name).collect();
    let begins = name.to_ascii_lowercase();
    let is_hex = !begins.is_empty() && begins.bytes().all(|byte| byte.is_ascii_hexdigit());
    let begun: Vec<&ConversationRow> =
        rows.iter().filter(|row| is_hex && row.id.to_string().starts_with(&begins)).collect();
    let found = if titled.is_empty() { begun } else { titled };
    match found.as_slice() {
        [one] => Ok(one.id),
        [] => Err(Failure::new(
            "unknown-conversation",
            format!("there is no conversation `{}`", one_line(name)),
            "`tombolo list` shows the ids and titles of your conversations",
        )),
        several => {
            let mut ids: Vec<String> = several.iter().take(LISTED_MAX).map(|row| row.id.to_string()).collect();
            if several.len() > LISTED_MAX {
                ids.push("...".into());
            }
            let message = format!("`{}` may mean {} conversations: {}", one_line(name), several.len(), ids.join(", "));
            Err(Failure::new("ambiguous", message, "name one by as much of its id as tells it apart"))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::door::{Keeping, Kind, Standing};

    fn row(first: u8, title: &str) -> ConversationRow {
        let mut id = [0xee; 16];
        id[0] = first;
        ConversationRow {
            id: ConversationId(id),
            title: title.into(),
            kind: Kind::Group,
            standing: Standing::Member,
            unread: 0,
            mentions: 0,
            ops: 1,
            relays: vec![],
            keeping: Keeping::default(),
        }
    }

    #[test]
    fn conversations_are_found_by_what_tells_them_apart() {
        let rows = [row(0xab, "Harbour"), row(0xac, "cafe"), row(0xca, "Twice"), row(0x11, "Twice"), row(0x12, "")];
        let found = |name: &str| conversation(name, &rows).map(|id| id.0[0]);
        let code = |name: &str| match conversation(name, &rows) {
            Err(Failure::Failed { code, .. }) => code,
            other => panic!("{other:?}"),
        };
        assert_eq!(found(&rows[0].id.to_string()), Ok(0xab));
        assert_eq!(found(&rows[0].id.to_string().to_uppercase()), Ok(0xab));
        assert_eq!(found("abee"), Ok(0xab));
        assert_eq!(found("Harbour"), Ok(0xab));
        // A title comes before the beginning of an id.
        assert_eq!(found("cafe"), Ok(0xac));
        assert_eq!(found("ca"), Ok(0xca));
        assert_eq!(code("a"), "ambiguous");
        assert_eq!(code("Twice"), "ambiguous");
        assert_eq!(code("harbour"), "unknown-conversation");
        assert_eq!(code("ff"), "unknown-conversation");
        assert_eq!(code(""), "unknown-conversation");
        assert_eq!(code(&"0".repeat(32)), "unknown-conversation");
    }
}
