//! What 10,000 sealed messages by 20 interleaved authors cost on the wire.

use crate::history::{Key, Random, header, seal};
use crate::memory::Memory;
use crate::world::World;
use tombolo_model::content::Content;
use tombolo_model::{Class, ConversationId, Hlc, LogId, Op, OpId};

const MESSAGES: usize = 10_000;
const AUTHORS: u64 = 20;
/// **Bytes** by which sealing lengthens a body.
const SEAL_BYTES: usize = 16;

fn messages() -> Vec<Op> {
    let mut random = Random(7);
    let author = |number: u64| Key::of(number as u8 + 1).0;
    let logs: Vec<LogId> = (0..AUTHORS).map(|_| LogId(random.array())).collect();
    let mut genesis = header(ConversationId::ZERO, author(0), logs[0], 1, OpId::ZERO, Hlc::new(1_700_000_000_000, 0));
    genesis.class = Class::Control;
    let genesis = seal(genesis, random.bytes(200));
    let mut tails = vec![(0, OpId::ZERO); AUTHORS as usize];
    tails[0] = (1, genesis.id);
    let (mut head, mut ms) = (genesis.id, 1_700_000_000_000);
    let conversation = genesis.conversation();
    let mut ops = vec![genesis];
    for _ in 0..MESSAGES {
        let at = random.below(AUTHORS) as usize;
        // A chat: seconds to minutes between messages; now and then two write at once and a message joins both.
        ms += 1 + random.below(90_000);
        let (seq, prev) = tails[at];
        let mut header = header(conversation, author(at as u64), logs[at], seq + 1, prev, Hlc::new(ms, 0));
        if head != prev {
            header.parents = vec![head];
        }
        let text: String = (0..80).map(|_| char::from(b'!' + random.below(90) as u8)).collect();
        let plain = Content::Text(text).to_padded().unwrap();
        let op = seal(header, random.bytes(plain.len() + SEAL_BYTES));
        tails[at] = (seq + 1, op.id);
        if random.below(20) > 0 {
            head = op.id;
        }
        ops.push(op);
    }
    ops
}

#[test]
fn a_message_costs_at_most_28_bytes_above_its_payload_and_padding() {
    let ops = messages();
    let mut full = Memory::new(1);
    full.take_all(&ops);
    let mut world = World::new(full, Memory::new(2));
    world.converge();
    let sizes = world.sides[0].sent.iter().filter(|(kind, _)| *kind == 0x03);
    let frames: Vec<usize> = sizes.map(|(_, len)| len + 4 + 4).collect();
    let padded = Content::Text("x".repeat(80)).to_padded().unwrap().len() - 80;
    let payload = MESSAGES * 80;
    let wire: usize = frames.iter().sum();
    let (all, _) = world.cost();
    let above = |bytes: usize| (bytes - payload - MESSAGES * padded) as f64 / MESSAGES as f64;
    println!(
        "{MESSAGES} messages in {} batches: {wire} bytes, {:.2} above payload and {padded} of padding each \
         ({SEAL_BYTES} of them the seal); whole session both ways {all} bytes, {:.2}",
        frames.len(),
        above(wire),
        above(all),
    );
    assert!(above(all) <= 28.0, "{}", above(all));
}
