//! The wires of the simulated world: frames on their way between two nodes, and what can happen to them there.
//!
//! The transport that the product asks for is ordered and whole; a wire here keeps that promise unless a fault of the
//! seed breaks it, and then nothing worse than the end of the session may follow.

use crate::sim::knobs::Frames;
use crate::sim::tally::Tally;
use std::collections::VecDeque;
use tombolo_replica::ConnId;
use tombolo_testkit::rng::Rng;

/// A frame on its way.
#[derive(Clone, Debug)]
pub struct Packet {
    /// When it arrives.
    pub due_ms: u64,
    /// The frame; `None` = the news that the other side is gone.
    pub frame: Option<Vec<u8>>,
    /// Arrival position of the sender that it speaks about, if it says something about the sender's set.
    pub position: Option<u64>,
}

/// A connection between two machines. Side 0 dialled.
#[derive(Debug)]
pub struct Wire {
    /// Its name on both sides.
    pub conn: ConnId,
    /// The machines.
    pub ends: [usize; 2],
    /// Whether the side still knows of it.
    pub up: [bool; 2],
    /// On their way to side 0 and 1.
    pub queues: [VecDeque<Packet>; 2],
    /// Swallows everything since then.
    pub black_ms: Option<u64>,
    /// A fault of frames struck: sides may blame each other.
    pub tampered: bool,
    /// Position of the peer that the last word about its set, as delivered to the side, was about.
    pub said: [Option<u64>; 2],
    /// Fresh random bytes of the sides.
    pub nonces: [[u8; 32]; 2],
    /// The address that was dialled, for a relay.
    pub url: Option<String>,
    /// The session was authenticated.
    pub known: [bool; 2],
}

impl Wire {
    /// A new one.
    #[must_use]
    pub fn new(conn: ConnId, ends: [usize; 2], url: Option<String>) -> Self {
        Self {
            conn,
            ends,
            up: [true; 2],
            queues: [VecDeque::new(), VecDeque::new()],
            black_ms: None,
            tampered: false,
            said: [None; 2],
            nonces: [[0; 32]; 2],
            url,
            known: [false; 2],
        }
    }

    /// Which side a machine is.
    #[must_use]
    pub fn side(&self, machine: usize) -> usize {
        usize::from(self.ends[1] == machine)
    }

    /// Puts a frame on the wire, from `side` to the other.
    pub fn send(
        &mut self,
        side: usize,
        mut frame: Vec<u8>,
        position: Option<u64>,
        (now_ms, delay_ms): (u64, u64),
        faults: &Frames,
        (rng, tally): (&mut Rng, &mut Tally),
    ) {
        if self.black_ms.is_some() {
            return;
        }
        let to = 1 - side;
        if faults.cut > 0 && rng.chance(faults.cut) {
            tally.fault("link cut");
            self.hang_up(now_ms + delay_ms);
            return;
        }
        let queue = &mut self.queues[to];
        if queue.back().is_some_and(|last| last.frame.is_none()) {
            return;
        }
        let due_ms = queue.back().map_or(0, |last| last.due_ms).max(now_ms + delay_ms);
        let mut strikes = |chance: u32, kind: &'static str, tampered: &mut bool| {
            let strikes = chance > 0 && rng.chance(chance);
            if strikes {
                tally.fault(kind);
                *tampered = true;
            }
            strikes
        };
        if strikes(faults.lost, "frame lost", &mut self.tampered) {
            return;
        }
        let doubled = strikes(faults.doubled, "frame doubled", &mut self.tampered);
        let swapped = strikes(faults.swapped, "frame swapped", &mut self.tampered);
        let truncated = strikes(faults.truncated, "frame truncated", &mut self.tampered);
        let flipped = strikes(faults.flipped, "frame flipped", &mut self.tampered);
        if truncated && !frame.is_empty() {
            frame.truncate(rng.index(frame.len()));
        }
        if flipped && !frame.is_empty() {
            let at = rng.index(frame.len());
            frame[at] ^= 1 << rng.below(8);
        }
        let packet = Packet { due_ms, frame: Some(frame), position };
        if doubled {
            queue.push_back(packet.clone());
        }
        queue.push_back(packet);
        let len = queue.len();
        if swapped && len >= 2 {
            queue.swap(len - 1, len - 2);
            let (first, second) = (queue[len - 1].due_ms, queue[len - 2].due_ms);
            queue[len - 2].due_ms = first.min(second);
            queue[len - 1].due_ms = first.max(second);
        }
    }

    /// Nothing more comes through; both sides are told at `at_ms`, after what is on its way.
    pub fn hang_up(&mut self, at_ms: u64) {
        for side in 0..2 {
            self.tell(side, at_ms);
        }
    }

    /// Tells a side that the other one is gone, after what is on its way.
    pub fn tell(&mut self, side: usize, at_ms: u64) {
        let queue = &mut self.queues[side];
        if !self.up[side] || queue.back().is_some_and(|last| last.frame.is_none()) {
            return;
        }
        let due_ms = queue.back().map_or(0, |last| last.due_ms).max(at_ms);
        queue.push_back(Packet { due_ms, frame: None, position: None });
    }

    /// When something arrives next, and at which side.
    #[must_use]
    pub fn next(&self) -> Option<(u64, usize)> {
        (0..2).filter_map(|side| Some((self.queues[side].front()?.due_ms, side))).min()
    }

    /// Whether nobody knows of it any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !self.up[0] && !self.up[1]
    }
}
