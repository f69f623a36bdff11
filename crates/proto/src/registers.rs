//! How registers travel: by conversation, each with device, version, payload and signature.
//!
//! Not here: when they do (`session/registers.rs`), what they are (`model`).

use crate::limit::REGISTERS_MAX;
use alloc::vec::Vec;
use tombolo_model::codec::{Malformed, Reader, put_bytes, put_varint};
use tombolo_model::limit::REGISTER_BYTES_MAX;
use tombolo_model::{ConversationId, DeviceId, Register, Signature};

/// **Bytes** of one register on the wire at most, beside its payload: conversation, two counts, device, version, length,
/// signature.
pub const REGISTER_OVERHEAD_BYTES: usize = 16 + 2 + 32 + 10 + 3 + 64;

/// Appends registers; those of one conversation that follow each other name it once.
pub(crate) fn put(out: &mut Vec<u8>, registers: &[Register]) {
    let same = |a: &Register, b: &Register| a.conversation == b.conversation;
    put_varint(out, registers.chunk_by(same).count() as u64);
    for of_one in registers.chunk_by(same) {
        out.extend_from_slice(&of_one[0].conversation.0);
        put_varint(out, of_one.len() as u64);
        for register in of_one {
            out.extend_from_slice(&register.device.0);
            put_varint(out, register.version);
            put_bytes(out, &register.payload);
            out.extend_from_slice(&register.signature.0);
        }
    }
}

/// Reads what [`put`] wrote.
pub(crate) fn take(reader: &mut Reader<'_>) -> Result<Vec<Register>, Malformed> {
    let mut registers = Vec::new();
    let mut before = None;
    for _ in 0..reader.count(REGISTERS_MAX, "registers")? {
        let conversation = ConversationId(reader.array()?);
        let count = reader.count(REGISTERS_MAX - registers.len(), "registers")?;
        if count == 0 || before == Some(conversation) {
            return Err(Malformed::NotCanonical("registers"));
        }
        before = Some(conversation);
        for _ in 0..count {
            registers.push(Register {
                conversation,
                device: DeviceId(reader.array()?),
                version: reader.varint()?,
                payload: reader.bytes(REGISTER_BYTES_MAX, "register")?.to_vec(),
                signature: Signature(reader.array()?),
            });
        }
    }
    Ok(registers)
}
