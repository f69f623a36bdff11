//! Writes ops by hand, as a hostile program would.

use super::{account, key};
use tombolo_identity::{AccountKey, DeviceKey, InviteKey, sign_op};
use tombolo_model::op::VERSION;
use tombolo_model::{BodyHash, Class, Control, ConversationId, Header, Hlc, LogId, Op, OpId};

pub struct Writer {
    pub key: DeviceKey,
    pub account: AccountKey,
    pub conversation: ConversationId,
    pub log: LogId,
    pub seq: u64,
    pub prev: OpId,
}

impl Writer {
    pub fn new(seed: u8, conversation: ConversationId) -> Self {
        Self { key: key(seed), account: account(seed), conversation, log: LogId([seed; 8]), seq: 0, prev: OpId::ZERO }
    }

    /// The header of the next op.
    pub fn header(&self, class: Class, hlc: Hlc) -> Header {
        Header {
            version: VERSION,
            class,
            conversation: self.conversation,
            author: self.key.id(),
            log: self.log,
            seq: self.seq + 1,
            prev: self.prev,
            hlc,
            epoch: 0,
            expires_ms: 0,
            parents: vec![],
            erases: vec![],
            extension: vec![],
            body_len: 0,
            body_hash: BodyHash::default(),
        }
    }

    fn next(&mut self, op: Op) -> Op {
        (self.seq, self.prev) = (op.header.seq, op.id);
        op
    }

    /// A message, all bytes of which are its seq.
    pub fn say(&mut self, hlc_ms: u64) -> Op {
        let header = self.header(Class::Content, Hlc(hlc_ms << 16 | self.seq));
        let body = vec![header.seq as u8; 40];
        let op = sign_op(header, &self.key, body);
        self.next(op)
    }

    pub fn control(&mut self, control: &Control, hlc: Hlc, parents: Vec<OpId>) -> Op {
        let mut header = self.header(Class::Control, hlc);
        header.parents = parents;
        let op = sign_op(header, &self.key, control.to_bytes());
        self.next(op)
    }

    pub fn join(&mut self, invite: &InviteKey, op: (OpId, Hlc)) -> Op {
        let certificate = self.account.certify(self.key.id(), 1);
        let proof = invite.prove(&self.conversation, &certificate);
        let join = Control::Join { certificate, invite: invite.public(), proof, relays: vec![] };
        self.control(&join, Hlc::new(op.1.ms() + 1, 0), vec![op.0])
    }
}
