//! This device's own place in the conversations of its account.
//!
//! Not here: the judgement (`oplog`), certificates (`identity`).

use super::Node;
use crate::Error;
use tombolo_model::{Control, ConversationId, LogId};
use tombolo_replica::{Draft, Now};

impl Node {
    /// Certifies this device in every conversation in which its account takes part and it does not yet: after a restore,
    /// and when a device is linked. No other device needs to be at hand: the account's certificate is enough. May be
    /// repeated; returns where something was written.
    ///
    /// # Errors
    /// Those of the store; what was written before the error stays.
    pub fn certify_everywhere(&mut self, now: Now) -> Result<Vec<ConversationId>, Error> {
        let (account, device) = (self.account(), self.device());
        let mut certified = Vec::new();
        for row in self.log().conversations()? {
            let members = self.log().members(&row.id)?;
            let ours = members.iter().any(|member| member.account == account);
            if !ours || members.iter().any(|member| member.device == device) {
                continue;
            }
            let control = Control::Device { certificate: self.certificate() };
            let fresh_log = LogId(self.random());
            self.replica.write(Some(row.id), &[Draft::Clear(Box::new(control))], fresh_log, now)?;
            certified.push(row.id);
        }
        Ok(certified)
    }
}
