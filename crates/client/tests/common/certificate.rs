//! An issuer and a relay's certificate, written by hand in DER (X.509 v3 with Ed25519), so that no library is needed.

use ed25519_dalek::{Signer as _, SigningKey};

const ED25519: &[u8] = &[0x06, 3, 0x2b, 0x65, 0x70];

/// A tag, a length and what `parts` hold.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        short @ 0..=127 => out.push(short as u8),
        longer @ 128..=255 => out.extend([0x81, longer as u8]),
        longest => out.extend([0x82, (longest >> 8) as u8, longest as u8]),
    }
    out.extend(content);
    out
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    der(0x30, parts)
}

fn name(common: &str) -> Vec<u8> {
    sequence(&[&der(0x31, &[&sequence(&[&[0x06, 3, 0x55, 4, 3], &der(0x0c, &[common.as_bytes()])])])])
}

/// A certificate for `key`, signed by `issuer`, from 2020 to 2120.
fn certificate(subject: &str, key: &SigningKey, issuer: &str, issuer_key: &SigningKey, extension: &[u8]) -> Vec<u8> {
    let algorithm = sequence(&[ED25519]);
    let validity = sequence(&[&der(0x17, &[b"200101000000Z"]), &der(0x18, &[b"21200101000000Z"])]);
    let public = sequence(&[&algorithm, &der(0x03, &[&[0], key.verifying_key().as_bytes()])]);
    let signed = sequence(&[
        &der(0xa0, &[&[0x02, 1, 2]]),
        &[0x02, 1, 7],
        &algorithm,
        &name(issuer),
        &validity,
        &name(subject),
        &public,
        &der(0xa3, &[&sequence(&[extension])]),
    ]);
    let signature = issuer_key.sign(&signed).to_bytes();
    sequence(&[&signed, &algorithm, &der(0x03, &[&[0], &signature])])
}

fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for chunk in line.chunks(3) {
            let number = (0..3).fold(0u32, |number, at| number << 8 | u32::from(*chunk.get(at).unwrap_or(&0)));
            for digit in 0..4 {
                let value = (number >> (18 - 6 * digit)) & 63;
                text.push(if digit > chunk.len() { '=' } else { char::from(DIGITS[value as usize]) });
            }
        }
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

/// A certificate chain of one link.
pub(crate) struct Chain {
    /// The issuer, PEM: what clients are told to believe.
    pub(crate) issuer_pem: String,
    /// The relay's certificate, DER.
    pub(crate) certificate: Vec<u8>,
    /// Its key, DER (PKCS #8).
    pub(crate) key: Vec<u8>,
}

/// A fresh issuer, and a certificate by it for `localhost` and 127.0.0.1. Different `seed`s, different keys.
pub(crate) fn chain(seed: u8) -> Chain {
    let (issuer, relay) = (SigningKey::from_bytes(&[seed; 32]), SigningKey::from_bytes(&[seed ^ 0x80; 32]));
    let is_issuer = sequence(&[&[0x06, 3, 0x55, 0x1d, 19, 0x01, 1, 0xff], &der(0x04, &[&sequence(&[&[1, 1, 0xff]])])]);
    let names = sequence(&[&der(0x82, &[b"localhost"]), &der(0x87, &[&[127, 0, 0, 1]])]);
    let for_names = sequence(&[&[0x06, 3, 0x55, 0x1d, 17], &der(0x04, &[&names])]);
    let issuer_der = certificate("Test issuer", &issuer, "Test issuer", &issuer, &is_issuer);
    let secret = der(0x04, &[&der(0x04, &[&relay.to_bytes()])]);
    Chain {
        issuer_pem: pem("CERTIFICATE", &issuer_der),
        certificate: certificate("Test relay", &relay, "Test issuer", &issuer, &for_names),
        key: sequence(&[&[0x02, 1, 0], &sequence(&[ED25519]), &secret]),
    }
}
