//! Why something signed is not believed. Each message says whose fault it is; nothing was changed.

use tombolo_model::Malformed;

/// Why an op, a certificate or a proof is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A signature is there and is not the author's over this id.
    #[error("the signature of an op is not its author's: whoever sent it forged or damaged it; it was dropped")]
    BadSignature,
    /// Neither a signature nor a signed later op of the same log vouches for the op.
    #[error(
        "an op came without its author's signature and no later op vouches for it: the sender must send both; it was dropped"
    )]
    Unsigned,
    /// The next op of the same log names another op as its predecessor.
    #[error("an op is not the one that its author's next op follows: the sender broke the chain; it was dropped")]
    BrokenChain,
    /// Ops handed over as a run are not consecutive ops of one log.
    #[error("ops sent as one run of a log are not consecutive ops of one log: the sender's fault; the run was dropped")]
    NotOneRun,
    /// The body is not the one that the header names.
    #[error("the body of an op is not the one its author signed: the sender changed it; it was dropped")]
    WrongBody,
    /// A certificate was not signed by its account.
    #[error("a device certificate is not signed by its account: whoever made it forged it; it was dropped")]
    BadCertificate,
    /// A certificate is for another device than the op's author.
    #[error("an op carries the certificate of another device than its author's: the author's fault; it was dropped")]
    ForeignCertificate,
    /// The proof of a join was not made with the key of the invitation for this conversation and this certificate.
    #[error(
        "the proof in a join is not made with its invitation for this conversation and device: the newcomer must use the link it was given; the join was dropped"
    )]
    BadJoinProof,
    /// A founding in another place than the first op, or something else there.
    #[error(
        "an op that founds a conversation is not of the form that foundings have: its author's fault; it was dropped"
    )]
    Misplaced,
    /// The body of a control op cannot be read.
    #[error("the body of a control op is malformed ({0}): its author's fault; it was dropped")]
    Malformed(#[from] Malformed),
}

impl IdentityError {
    /// A stable name for logs, metrics and the wire.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadSignature => "bad_signature",
            Self::Unsigned => "unsigned",
            Self::BrokenChain => "broken_chain",
            Self::NotOneRun => "not_one_run",
            Self::WrongBody => "wrong_body",
            Self::BadCertificate => "bad_certificate",
            Self::ForeignCertificate => "foreign_certificate",
            Self::BadJoinProof => "bad_join_proof",
            Self::Misplaced => "misplaced",
            Self::Malformed(_) => "malformed_control",
        }
    }
}
