//! What one seed turns up and down: sizes, how often each fault strikes, which tools sessions may search with.
//!
//! Swarm testing: most faults are off in any one world, so that those which are on are not drowned by the others.

use tombolo_replica::Tools;
use tombolo_testkit::rng::Rng;

/// The world of one seed.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// Devices at the start; copies of profiles come on top.
    pub devices: usize,
    /// Relays.
    pub relays: usize,
    /// Steps of the safety phase.
    pub steps: u64,
    /// Name of the set of tools.
    pub tools_name: &'static str,
    /// Tools of every session.
    pub tools: Tools,
    /// **Milliseconds** a frame takes: least and how much more at most.
    pub delay_ms: (u64, u64),
    /// **Milliseconds** that what came may wait for its transaction at most.
    pub flush_ms: u64,
    /// Messages of one send at most.
    pub burst: u64,
    /// Conversations at most.
    pub conversations: usize,
    /// Per-mille of frames that are lost, doubled, swapped, cut short, changed by one bit, or at which the link breaks.
    pub frames: Frames,
    /// How often each kind of trouble is drawn, against about 100 for all of the workload.
    pub troubles: Troubles,
}

/// Faults of frames, in per-mille of frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames {
    /// Lost.
    pub lost: u32,
    /// Sent twice.
    pub doubled: u32,
    /// Overtaken by the next one.
    pub swapped: u32,
    /// Cut short.
    pub truncated: u32,
    /// One bit changed.
    pub flipped: u32,
    /// The link breaks here.
    pub cut: u32,
}

/// Weights of the other faults.
#[derive(Clone, Copy, Debug, Default)]
pub struct Troubles {
    /// Power loss of a node.
    pub power: u32,
    /// Death of a process; the disk is as it was.
    pub kill: u32,
    /// Restart in order.
    pub restart: u32,
    /// A wrong clock, or a corrected one.
    pub clock: u32,
    /// A disk that fails or is full.
    pub disk: u32,
    /// A link that swallows everything in silence.
    pub half_open: u32,
    /// Two groups of nodes cannot reach each other.
    pub partition: u32,
    /// A relay that has lost everything.
    pub empty: u32,
    /// A node that goes back to an older copy of its disk (copies are taken as often).
    pub restore: u32,
    /// A profile that runs twice.
    pub copy: u32,
}

impl Knobs {
    /// Draws them.
    #[must_use]
    pub fn draw(rng: &Rng) -> Self {
        let mut rng = rng.fork("knobs");
        let some =
            |rng: &mut Rng, chance: u32, max: u64| if rng.chance(chance) { 1 + rng.below(max) as u32 } else { 0 };
        let all = Tools::ALL;
        let (tools_name, tools) = match rng.below(100) {
            0..40 => ("all", all),
            40..55 => ("heights", Tools { cursor: false, ..all }),
            55..75 => ("sketch", Tools { cursor: false, heights: false, ..all }),
            75..82 => ("sketch-only", Tools { cursor: false, heights: false, ranges: false, ..all }),
            82..92 => ("ranges", Tools { cursor: false, heights: false, sketch: false, ..all }),
            _ => ("cursor+ranges", Tools { heights: false, sketch: false, ..all }),
        };
        let hostile = rng.chance(300);
        let frames = Frames {
            lost: if hostile { some(&mut rng, 400, 20) } else { 0 },
            doubled: if hostile { some(&mut rng, 400, 20) } else { 0 },
            swapped: if hostile { some(&mut rng, 400, 20) } else { 0 },
            truncated: if hostile { some(&mut rng, 400, 20) } else { 0 },
            flipped: if hostile { some(&mut rng, 400, 20) } else { 0 },
            cut: some(&mut rng, 400, 40),
        };
        let troubles = Troubles {
            power: some(&mut rng, 400, 6),
            kill: some(&mut rng, 300, 4),
            restart: some(&mut rng, 400, 6),
            clock: some(&mut rng, 400, 6),
            disk: some(&mut rng, 250, 4),
            half_open: some(&mut rng, 250, 4),
            partition: some(&mut rng, 300, 3),
            empty: some(&mut rng, 200, 2),
            restore: some(&mut rng, 250, 3),
            copy: some(&mut rng, 120, 1),
        };
        let sketchy = tools_name.starts_with("sketch");
        Self {
            devices: 3 + rng.index(5),
            relays: 1 + rng.index(2),
            steps: rng.range(40..110),
            tools_name,
            tools,
            delay_ms: if rng.chance(700) { (1, 30) } else { (20, 1_500) },
            flush_ms: if rng.chance(500) { 0 } else { rng.below(300) },
            burst: if sketchy || rng.chance(200) { 30 } else { 4 },
            conversations: if sketchy { 1 + rng.index(2) } else { 1 + rng.index(4) },
            frames,
            troubles,
        }
    }
}
