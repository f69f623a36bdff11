//! Keys, strict signatures, certificates and proofs of joins.
#![allow(clippy::unwrap_used)]

mod common;

use common::{HERE, header};
use tombolo_identity::{
    AccountKey, DeviceKey, IdentityError, InviteKey, Strict, check_certificate, check_control, sign_op,
};
use tombolo_model::control::{Certificate, Control, Kind};
use tombolo_model::crypto::{DOMAIN_ACK, DOMAIN_OP, DOMAIN_SESSION, Signer, Verifier};
use tombolo_model::{Class, ConversationId, DeviceId, Op, OpId, Signature};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

fn device() -> DeviceKey {
    DeviceKey::from_seed([1; 32])
}

fn account() -> AccountKey {
    AccountKey::from_seed([2; 32])
}

fn certificate() -> Certificate {
    account().certify(device().id(), 5)
}

fn control_op(key: &DeviceKey, conversation: ConversationId, control: &Control) -> Op {
    let mut header = header(key, 1, 1, OpId::ZERO);
    header.class = Class::Control;
    header.conversation = conversation;
    sign_op(header, key, control.to_bytes())
}

fn join(certificate: Certificate, proof: [u8; 64]) -> Control {
    Control::Join { certificate, invite: InviteKey::from_seed([3; 32]).public(), proof, relays: vec![] }
}

#[test]
fn signatures_hold_for_one_domain_one_message_one_key() {
    let key = device();
    let signature = key.sign(DOMAIN_SESSION, b"hash");
    assert!(Strict.verify(&key.id(), DOMAIN_SESSION, b"hash", &signature));
    assert!(!Strict.verify(&key.id(), DOMAIN_ACK, b"hash", &signature));
    assert!(!Strict.verify(&key.id(), DOMAIN_SESSION, b"hasH", &signature));
    assert!(!Strict.verify(&DeviceKey::from_seed([9; 32]).id(), DOMAIN_SESSION, b"hash", &signature));
    // Bytes cannot move between domain and message.
    let signature = key.sign("ab", b"c");
    assert!(!Strict.verify(&key.id(), "a", b"bc", &signature));
    // The layout is part of the format.
    let plain = ed25519_dalek::Signer::sign(&ed25519_dalek::SigningKey::from_bytes(&[1; 32]), b"tombolo 1 op\0id");
    assert_eq!(key.sign(DOMAIN_OP, b"id"), Signature(plain.to_bytes()));
}

#[test]
fn malleable_signatures_are_refused() {
    // The order of the base point, little-endian: s + L verifies wherever s is not required to be reduced.
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let key = device();
    let mut signature = key.sign(DOMAIN_OP, b"id");
    assert!(Strict.verify(&key.id(), DOMAIN_OP, b"id", &signature));
    let mut carry = 0;
    for (byte, add) in signature.0[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    assert_eq!(carry, 0);
    assert!(!Strict.verify(&key.id(), DOMAIN_OP, b"id", &signature));
}

#[test]
fn keys_and_signatures_of_small_order_are_refused() {
    // Eight points of small order; with such a key R = A, s = 0 (or R = identity) satisfies the lax equation for
    // an eighth of all messages or more, so that one signature stands for many messages.
    let points = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    ];
    let mut lax = 0;
    for key in points {
        let key = DeviceId(tombolo_model::id::unhex(key).unwrap());
        for r in points {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&tombolo_model::id::unhex::<32>(r).unwrap());
            for message in 0..32u8 {
                assert!(!Strict.verify(&key, DOMAIN_OP, &[message], &Signature(signature)));
                let mut signed = DOMAIN_OP.as_bytes().to_vec();
                signed.extend([0, message]);
                let signature = ed25519_dalek::Signature::from_bytes(&signature);
                let key = ed25519_dalek::VerifyingKey::from_bytes(&key.0).unwrap();
                lax += u32::from(ed25519_dalek::Verifier::verify(&key, &signed, &signature).is_ok());
            }
        }
    }
    assert!(lax > 0, "a lax check takes some of these, or the test shows nothing");
}

#[test]
fn a_forged_certificate_is_refused() {
    assert_eq!(check_certificate(&certificate()), Ok(()));
    for change in [
        |c: &mut Certificate| c.account = AccountKey::from_seed([9; 32]).id().0,
        |c: &mut Certificate| c.device[0] ^= 1,
        |c: &mut Certificate| c.created_ms += 1,
        |c: &mut Certificate| c.signature[0] ^= 1,
    ] {
        let mut forged = certificate();
        change(&mut forged);
        assert_eq!(check_certificate(&forged), Err(IdentityError::BadCertificate));
        let op = control_op(&device(), HERE, &Control::Device { certificate: forged.clone() });
        assert_eq!(check_control(&op, &Control::Device { certificate: forged }), Err(IdentityError::BadCertificate));
    }
}

#[test]
fn a_founding_is_by_the_certified_device_and_in_its_place() {
    let control = Control::Genesis { certificate: certificate(), kind: Kind::Group, salt: [0; 16], relays: vec![] };
    let genesis = control_op(&device(), ConversationId::ZERO, &control);
    assert_eq!(check_control(&genesis, &control), Ok(()));
    assert_eq!(check_control(&control_op(&device(), HERE, &control), &control), Err(IdentityError::Misplaced));
    let revoke = Control::Revoke { key: [3; 32] };
    assert_eq!(check_control(&genesis, &revoke), Err(IdentityError::Misplaced));
    let thief = control_op(&DeviceKey::from_seed([66; 32]), ConversationId::ZERO, &control);
    assert_eq!(check_control(&thief, &control), Err(IdentityError::ForeignCertificate));
}

#[test]
fn a_join_is_proved_for_one_conversation_account_and_device() {
    let invite = InviteKey::from_seed([3; 32]);
    let good = join(certificate(), invite.prove(&HERE, &certificate()));
    let op = control_op(&device(), HERE, &good);
    assert_eq!(check_control(&op, &good), Ok(()));
    // The same op in another conversation.
    let elsewhere = control_op(&device(), ConversationId([8; 16]), &good);
    assert_eq!(check_control(&elsewhere, &good), Err(IdentityError::BadJoinProof));
    // The proof of somebody else, taken from that person's op.
    let eve = DeviceKey::from_seed([66; 32]);
    let of_eve = AccountKey::from_seed([67; 32]).certify(eve.id(), 5);
    let stolen = join(of_eve.clone(), invite.prove(&HERE, &certificate()));
    assert_eq!(check_control(&control_op(&eve, HERE, &stolen), &stolen), Err(IdentityError::BadJoinProof));
    // The whole body of somebody else.
    assert_eq!(check_control(&control_op(&eve, HERE, &good), &good), Err(IdentityError::ForeignCertificate));
    // Made with another invitation.
    let wrong = join(certificate(), InviteKey::from_seed([4; 32]).prove(&HERE, &certificate()));
    assert_eq!(check_control(&op, &wrong), Err(IdentityError::BadJoinProof));
}

#[test]
fn secrets_return_as_they_were_and_never_show() {
    assert_eq!(*device().seed(), [1; 32]);
    assert_eq!(*account().seed(), [2; 32]);
    let invite = InviteKey::from_seed([3; 32]);
    assert_eq!(*invite.seed(), [3; 32]);
    for (shown, hidden) in [
        (format!("{:?}", device()), "01010101"),
        (format!("{:?}", account()), "02020202"),
        (format!("{invite:?}"), "03030303"),
    ] {
        assert!(!shown.contains(hidden) && shown.len() < 24, "{shown}");
    }
}

#[test]
fn secrets_are_wiped_when_dropped() {
    fn wiped_on_drop<T: ZeroizeOnDrop>() {}
    fn wiped_wrapper<T: Zeroize>(_: &Zeroizing<T>) {}
    wiped_on_drop::<DeviceKey>();
    wiped_on_drop::<AccountKey>();
    wiped_on_drop::<InviteKey>();
    wiped_wrapper(&device().seed());
}
