//! The one-time token of the link, and the keys of the tabs that traded one. Nothing of it is on a disk: whoever starts the
//! program again opens a new link.

use std::collections::VecDeque;
use std::io;

/// Tabs at a time; the oldest key goes first.
const KEYS_MAX: usize = 32;

/// See the head of this file.
pub(crate) struct Keys {
    token: String,
    keys: VecDeque<String>,
}

/// 32 random bytes in hex.
fn secret() -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Compares in a time that does not tell where two texts of one length differ.
fn same(one: &str, two: &str) -> bool {
    let differ = one.bytes().zip(two.bytes()).fold(0, |differ, (one, two)| differ | (one ^ two));
    one.len() == two.len() && differ == 0
}

impl Keys {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { token: secret()?, keys: VecDeque::new() })
    }

    /// What the next link carries.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// A key for the token, which is worth nothing from then on.
    pub(crate) fn trade(&mut self, token: &str) -> io::Result<Option<String>> {
        if !same(token, &self.token) {
            return Ok(None);
        }
        let key = secret()?;
        self.token = secret()?;
        if self.keys.len() == KEYS_MAX {
            self.keys.pop_front();
        }
        self.keys.push_back(key.clone());
        Ok(Some(key))
    }

    pub(crate) fn knows(&self, key: &str) -> bool {
        self.keys.iter().fold(false, |known, ours| known | same(key, ours))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_worth_one_key() {
        let mut keys = Keys::new().unwrap();
        let token = keys.token().to_owned();
        assert!(!keys.knows(&token) && !keys.knows(""));
        let key = keys.trade(&token).unwrap().unwrap();
        assert!(keys.knows(&key) && !keys.knows(&token));
        assert_eq!(keys.trade(&token).unwrap(), None, "once");
        assert_eq!(keys.trade("").unwrap(), None);
        assert_ne!(keys.token(), token);
    }

    #[test]
    fn the_oldest_tab_gives_way() {
        let mut keys = Keys::new().unwrap();
        let mut trade = || {
            let token = keys.token().to_owned();
            keys.trade(&token).unwrap().unwrap()
        };
        let all: Vec<String> = (0..=KEYS_MAX).map(|_| trade()).collect();
        assert!(!keys.knows(&all[0]) && all[1..].iter().all(|key| keys.knows(key)));
    }
}
