//! The write token: what a send returns, to ask any other replica for the write.
//!
//! `tw1` and base64url of: wall clock (ms), clock reading, device, conversation, log, seq, op id. Opaque to users, the
//! same on every platform; whoever gets one can name the write exactly.

use crate::Error;
use std::fmt;
use std::str::FromStr;
use tombolo_model::codec::{Malformed, Reader};
use tombolo_model::{ConversationId, DeviceId, Hlc, LogId, OpId};
use tombolo_seal::base64url;

const PREFIX: &str = "tw1";

/// Names a write: time, logical clock, replica (MISSION S6), and the op itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteToken {
    /// The wall clock of the writer, **milliseconds** since 1970.
    pub time_ms: u64,
    /// The clock reading of the op.
    pub hlc: Hlc,
    /// The writer.
    pub replica: DeviceId,
    /// The conversation.
    pub conversation: ConversationId,
    /// The log.
    pub log: LogId,
    /// The place in it.
    pub seq: u64,
    /// The op.
    pub id: OpId,
}

impl fmt::Display for WriteToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(112);
        bytes.extend_from_slice(&self.time_ms.to_be_bytes());
        bytes.extend_from_slice(&self.hlc.0.to_be_bytes());
        bytes.extend_from_slice(&self.replica.0);
        bytes.extend_from_slice(&self.conversation.0);
        bytes.extend_from_slice(&self.log.0);
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&self.id.0);
        f.write_str(PREFIX)?;
        base64url::encode(&bytes, f)
    }
}

impl FromStr for WriteToken {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::new("token", "this is not a write token", "copy it whole from what `send` printed");
        let body = text.trim().strip_prefix(PREFIX).ok_or_else(wrong)?;
        let mut bytes = Vec::new();
        base64url::decode(body.as_bytes(), &mut bytes).ok_or_else(wrong)?;
        read(&bytes).map_err(|_| wrong())
    }
}

fn read(bytes: &[u8]) -> Result<WriteToken, Malformed> {
    let mut reader = Reader::new(bytes);
    let token = WriteToken {
        time_ms: reader.u64()?,
        hlc: Hlc(reader.u64()?),
        replica: DeviceId(reader.array()?),
        conversation: ConversationId(reader.array()?),
        log: LogId(reader.array()?),
        seq: reader.u64()?,
        id: OpId(reader.array()?),
    };
    reader.finish()?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens_survive_and_damage_is_noticed() {
        let token = WriteToken {
            time_ms: 5,
            hlc: Hlc::new(7, 1),
            replica: DeviceId([1; 32]),
            conversation: ConversationId([2; 16]),
            log: LogId([3; 8]),
            seq: 9,
            id: OpId([4; 32]),
        };
        let text = token.to_string();
        assert_eq!(text.parse::<WriteToken>().unwrap(), token);
        assert!(text[..text.len() - 4].parse::<WriteToken>().is_err());
        assert!("tw1".parse::<WriteToken>().is_err());
    }
}
