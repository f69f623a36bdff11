//! Secret keys: of an account, of a device, of an invitation.
//!
//! Each is made from a 32-byte seed that the caller draws and keeps (`client::key_store`, or the invitation link).
//! Secrets are wiped when dropped and never appear in `Debug`. Checking what these keys sign: [`crate::strict`].

use core::fmt;
use ed25519_dalek::{Signer as _, SigningKey};
use tombolo_model::control::{Certificate, join_bytes};
use tombolo_model::crypto::{DOMAIN_CERTIFICATE, DOMAIN_JOIN, Signer};
use tombolo_model::{AccountId, ConversationId, DeviceId, Signature};
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// What is signed: the domain, a zero byte that no domain contains, the message.
pub(crate) fn in_domain(domain: &str, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(domain.len() + 1 + message.len());
    bytes.extend_from_slice(domain.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(message);
    bytes
}

fn sign(key: &SigningKey, domain: &str, message: &[u8]) -> Signature {
    Signature(key.sign(&in_domain(domain, message)).to_bytes())
}

fn from_seed(seed: [u8; 32]) -> SigningKey {
    let seed = Zeroizing::new(seed);
    SigningKey::from_bytes(&seed)
}

/// The key of a device or a relay: signs ops and authenticates connections.
#[derive(Clone)]
pub struct DeviceKey(SigningKey);

// Its only field wipes itself.
impl ZeroizeOnDrop for DeviceKey {}

impl DeviceKey {
    /// The key of a 32-byte secret, which must be uniformly random.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(from_seed(seed))
    }

    /// The public key, which is the device's id.
    #[must_use]
    pub fn id(&self) -> DeviceId {
        DeviceId(self.0.verifying_key().to_bytes())
    }

    /// The secret, to be kept in a key store.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }
}

impl Signer for DeviceKey {
    fn device(&self) -> DeviceId {
        self.id()
    }

    fn sign(&self, domain: &str, message: &[u8]) -> Signature {
        sign(&self.0, domain, message)
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({})", self.id().short())
    }
}

/// The key of a person: certifies devices, nothing else.
#[derive(Clone)]
pub struct AccountKey(SigningKey);

// Its only field wipes itself.
impl ZeroizeOnDrop for AccountKey {}

impl AccountKey {
    /// The key of a 32-byte secret, which must be uniformly random.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(from_seed(seed))
    }

    /// The public key, which is the account's id.
    #[must_use]
    pub fn id(&self) -> AccountId {
        AccountId(self.0.verifying_key().to_bytes())
    }

    /// The secret, to be kept in a key store.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// States that `device` is this account's. `created_ms`: milliseconds since 1970.
    #[must_use]
    pub fn certify(&self, device: DeviceId, created_ms: u64) -> Certificate {
        let mut certificate = Certificate { account: self.id().0, device: device.0, created_ms, signature: [0; 64] };
        certificate.signature = sign(&self.0, DOMAIN_CERTIFICATE, &certificate.signed_bytes()).0;
        certificate
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountKey({})", self.id().short())
    }
}

/// The key that an invitation link carries: whoever holds it can prove to have been invited.
#[derive(Clone)]
pub struct InviteKey(SigningKey);

// Its only field wipes itself.
impl ZeroizeOnDrop for InviteKey {}

impl InviteKey {
    /// The key of a 32-byte secret, which must be uniformly random and used for one invitation.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(from_seed(seed))
    }

    /// The public half, which stands in the op of the invitation.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The secret, to be put into the link.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Proves that the account and device of `certificate` were invited to `conversation`.
    #[must_use]
    pub fn prove(&self, conversation: &ConversationId, certificate: &Certificate) -> [u8; 64] {
        sign(&self.0, DOMAIN_JOIN, &join_bytes(conversation, certificate)).0
    }
}

impl fmt::Debug for InviteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InviteKey({})", tombolo_model::id::hex(&self.public()[..4]))
    }
}
