//! The sketch: pinned mapping and bytes, decoding, how many cells it takes, hostile cells.
//!
//! The pinned values were computed a second time by a program in another language that searches the next hit linearly.

use crate::{Random, mean_and_part};
use proptest::prelude::*;
use tombolo_model::Malformed;
use tombolo_model::id::hex;
use tombolo_proto::reconcile::estimator::Estimator;
use tombolo_proto::reconcile::sketch::{
    CELL_BYTES, CELLS_KEPT, Indices, MAX_CELLS, Sketch, Undecoded, cells_after, cells_for,
};

fn sketch_of(items: &[u64], cells: usize) -> Sketch {
    let mut sketch = Sketch::new(cells);
    for item in items {
        sketch.insert(*item);
    }
    sketch
}

fn sorted(items: &[u64]) -> Vec<u64> {
    let mut items = items.to_vec();
    items.sort_unstable();
    items
}

#[test]
fn the_mapping_is_pinned() {
    let hits = |item| Indices::new(item, 0, 2500).collect::<Vec<_>>();
    assert_eq!(hits(0), [0, 1, 2, 4, 6, 30, 133, 193, 199, 276, 347, 902, 2257]);
    assert_eq!(hits(1), [0, 1, 4, 6, 26, 83, 108, 141, 189, 925, 947, 1935]);
    assert_eq!(hits(0x0123_4567_89ab_cdef), [0, 1, 2, 9, 16, 58, 90, 134, 219, 275, 299, 1962]);
    assert_eq!(hits(u64::MAX), [0, 1, 2, 3, 14, 16, 101, 526, 1818]);
}

#[test]
fn the_bytes_are_pinned() {
    let sketch = sketch_of(&[1, 2, 0x0123_4567_89ab_cdef], CELLS_KEPT + 20);
    let bytes = sketch.to_bytes();
    assert_eq!(bytes.len(), (CELLS_KEPT + 20) * CELL_BYTES);
    assert_eq!(
        hex(&bytes[..6 * CELL_BYTES]),
        "0123456789abcdecc2dfa5a9030123456789abcdecc2dfa5a9030123456789abcded23891ffb02\
         000000000000000000000000000000000000000001e156ba52010000000000000002e69a19cd01"
    );
    // All cells, folded.
    let sum = sketch.cells().iter().fold((0u64, 0u32, 0u64), |(sum, check, place), cell| {
        (sum.rotate_left(1) ^ cell.sum, check.rotate_left(1) ^ cell.check, place.rotate_left(7) ^ u64::from(cell.count))
    });
    assert_eq!(sum, (0x0e12_a63b_cced_0e72, 0xcc7e_4b46, 0xc4c8_9405_0623_0920));
    assert_eq!(Sketch::from_bytes(&bytes).unwrap(), sketch);
}

#[test]
fn cell_i_is_hit_with_probability_2_in_i_plus_2() {
    let mut random = Random(1);
    let rounds = 40_000;
    let mut hits = vec![0u32; 3000];
    for _ in 0..rounds {
        let mut last = None;
        for index in Indices::new(random.next(), 0, 3000) {
            assert!(last < Some(index), "ascending");
            last = Some(index);
            hits[index] += 1;
        }
    }
    assert_eq!(hits[0], rounds);
    // Sums over stretches, across the place where the walk begins anew.
    for (from, to) in
        [(1, 2), (2, 3), (3, 6), (6, 20), (20, 100), (100, 1000), (1000, 1024), (1024, 1048), (1048, 3000)]
    {
        let expected: f64 = (from..to).map(|i| 2.0 / (i as f64 + 2.0)).sum::<f64>() * f64::from(rounds);
        let found: u32 = hits[from..to].iter().sum();
        let deviation = (f64::from(found) - expected) / expected.sqrt();
        println!("cells {from}..{to}: {found} hits, expected {expected:.0} ({deviation:+.1} sigma)");
        assert!(deviation.abs() < 4.0, "cells {from}..{to}: {found} hits, expected {expected:.0}");
    }
}

#[test]
fn a_part_of_the_walk_is_a_part_of_the_walk() {
    let mut random = Random(2);
    for _ in 0..2000 {
        let item = random.next();
        let whole: Vec<_> = Indices::new(item, 0, MAX_CELLS).collect();
        let from = random.below(5000) as usize;
        let to = from + random.below(60_000) as usize;
        let part: Vec<_> = Indices::new(item, from, to).collect();
        let expected: Vec<_> = whole.iter().copied().filter(|i| (from..to).contains(i)).collect();
        assert_eq!(part, expected);
        assert_eq!(Indices::new(item, from, usize::MAX).last(), whole.iter().copied().rfind(|i| *i >= from));
    }
}

#[test]
fn a_kept_prefix_is_extended_and_cut_to_the_same_cells() {
    let items = Random(3).items(5000);
    let whole = sketch_of(&items, 3000);
    let mut grown = sketch_of(&items, CELLS_KEPT);
    grown.extend_to(1500, items.iter().copied());
    grown.extend_to(3000, items.iter().rev().copied());
    grown.extend_to(10, items.iter().copied());
    assert_eq!(grown, whole);
    grown.truncate(77);
    assert_eq!(grown, sketch_of(&items, 77));
    for item in &items {
        grown.remove(*item);
    }
    assert_eq!(grown, Sketch::new(77));
    assert_eq!(Sketch::new(usize::MAX).len(), MAX_CELLS);
    grown.extend_to(usize::MAX, []);
    assert_eq!(grown.len(), MAX_CELLS);
}

#[test]
fn both_directions_are_found_whatever_is_shared() {
    let mut random = Random(4);
    for (shared, mine, theirs) in
        [(0, 0, 0), (1000, 0, 0), (0, 1, 0), (1000, 0, 1), (20_000, 300, 1), (20_000, 40, 500), (0, 300, 300)]
    {
        let common = random.items(shared);
        let (mine, theirs) = (random.items(mine), random.items(theirs));
        let a = sketch_of(&[&common[..], &mine[..]].concat(), CELLS_KEPT);
        let b = sketch_of(&[&theirs[..], &common[..]].concat(), CELLS_KEPT);
        let found = a.subtract(&b).decode().unwrap();
        assert_eq!((found.mine, found.theirs), (sorted(&mine), sorted(&theirs)));
    }
}

#[test]
fn too_few_cells_say_so_and_more_of_the_same_decode() {
    let mut random = Random(5);
    let (mine, theirs) = (random.items(1000), random.items(900));
    let mut a = sketch_of(&mine, CELLS_KEPT);
    let mut b = sketch_of(&theirs, CELLS_KEPT);
    let mut asked = 0;
    let found = loop {
        match a.subtract(&b).decode() {
            Ok(found) => break found,
            Err(error) => assert_eq!(error, Undecoded::TooFewCells { cells: a.len() }),
        }
        a.extend_to(cells_after(a.len()), mine.iter().copied());
        b.extend_to(cells_after(b.len()), theirs.iter().copied());
        asked += 1;
    };
    assert!((1..=6).contains(&asked), "asked {asked} times");
    assert_eq!((found.mine, found.theirs), (sorted(&mine), sorted(&theirs)));
    assert_eq!(cells_after(MAX_CELLS - 1), MAX_CELLS);
}

/// Fewest cells that decode.
fn cells_needed(items: &[u64]) -> usize {
    let whole = sketch_of(items, items.len() * 2 + 100);
    let (mut low, mut high) = (1, whole.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        let mut prefix = whole.clone();
        prefix.truncate(middle);
        if prefix.decode().is_ok() { high = middle } else { low = middle + 1 }
    }
    low
}

#[test]
fn cells_needed_per_difference() {
    let mut random = Random(6);
    for (differences, rounds, mean_max, part_max) in [
        (1, 500, 1.0, 1.0),
        (10, 500, 2.0, 5.0),
        (100, 300, 1.5, 1.9),
        (500, 60, 1.45, 1.6),
        (2000, 20, 1.42, 1.5),
        (10_000, 5, 1.4, 1.42),
    ] {
        let mut needed: Vec<f64> = (0..rounds).map(|_| cells_needed(&random.items(differences)) as f64).collect();
        let (mean, part) = mean_and_part(&mut needed, 0.99);
        println!("{differences} differences: {mean:.1} cells mean, {part} p99 of {rounds}");
        assert!(mean <= mean_max * differences as f64, "{differences}: mean {mean}");
        assert!(part <= part_max * differences as f64, "{differences}: p99 {part}");
    }
}

#[test]
fn one_answer_is_enough() {
    let mut random = Random(7);
    for (differences, rounds) in [
        (1, 400),
        (2, 400),
        (3, 400),
        (5, 400),
        (8, 400),
        (14, 400),
        (30, 400),
        (100, 400),
        (250, 200),
        (300, 200),
        (1000, 100),
        (3000, 40),
    ] {
        let (mut decoded, mut cells) = (0, 0);
        for _ in 0..rounds {
            let items = random.items(differences);
            let mut estimator = Estimator::new();
            items.iter().for_each(|item| estimator.insert(*item));
            let len = cells_for(estimator.difference(&Estimator::new()));
            cells += len;
            decoded += usize::from(sketch_of(&items, len).decode().is_ok());
        }
        let bytes = cells * CELL_BYTES / rounds;
        println!("{differences} differences: {decoded} of {rounds} decode at once, {bytes} bytes of cells");
        // 99 %, less what chance does to so few rounds.
        assert!(decoded * 100 >= rounds * 97, "{differences}: {decoded} of {rounds}");
        if differences == 100 {
            assert!(bytes + 384 <= 3000, "100 differences cost {bytes} bytes of cells");
        }
    }
    assert_eq!(cells_for(0), cells_for(1));
    assert_eq!(cells_for(u64::MAX), MAX_CELLS);
    assert!((0..50_000).all(|d| cells_for(d) <= cells_for(d + 1) && cells_for(d) >= d as usize));
}

#[test]
fn cells_that_repeat_one_item_are_inconsistent() {
    // Every cell claims to hold just this item, though it does not belong into most of them.
    let cell = sketch_of(&[42], 1).to_bytes();
    let lie = Sketch::from_bytes(&cell.repeat(1000)).unwrap();
    assert_eq!(lie.decode(), Err(Undecoded::Inconsistent));
}

#[test]
fn an_item_that_is_there_twice_is_not_reported_once() {
    // XOR cancels it; only the count stays. A collision of two ops ends like this: undecoded, so ranges search.
    assert!(matches!(sketch_of(&[42, 42], 50).decode(), Err(Undecoded::TooFewCells { .. })));
}

#[test]
fn a_length_that_no_sketch_has_is_refused() {
    assert_eq!(Sketch::from_bytes(&[0; 14]), Err(Malformed::Truncated));
    assert_eq!(Sketch::from_bytes(&vec![0; (MAX_CELLS + 1) * CELL_BYTES]), Err(Malformed::TooLarge("sketch")));
    assert!(Sketch::from_bytes(&[]).unwrap().decode().unwrap().mine.is_empty());
}

proptest! {
    #[test]
    fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        if let Ok(sketch) = Sketch::from_bytes(&bytes) {
            prop_assert_eq!(sketch.to_bytes(), bytes);
            let len = sketch.len();
            if let Ok(found) = sketch.decode() {
                prop_assert!(found.mine.len() + found.theirs.len() <= len);
            }
        }
    }

    /// Cells that each look pure, or are shifted copies of honest ones: what a peer sends that wants us to peel for ever.
    #[test]
    fn cells_made_to_look_pure_end_too(seed: u64, len in 1usize..400, lies in 1usize..60) {
        let mut random = Random(seed);
        let items = random.items(len / 2 + 1);
        let mut bytes = sketch_of(&items, len).to_bytes();
        for _ in 0..lies {
            let at = random.below(len as u64) as usize * CELL_BYTES;
            let item = if random.below(2) == 0 { random.next() } else { items[random.below(items.len() as u64) as usize] };
            let mut cell = sketch_of(&[item], 1).to_bytes();
            if random.below(2) == 0 {
                cell[CELL_BYTES - 1] = 255;
            }
            bytes[at..at + CELL_BYTES].copy_from_slice(&cell);
        }
        if let Ok(found) = Sketch::from_bytes(&bytes).unwrap().decode() {
            prop_assert!(found.mine.len() + found.theirs.len() <= len);
            prop_assert!(found.mine.is_sorted() && found.theirs.is_sorted());
            prop_assert!(found.mine.iter().all(|item| !found.theirs.contains(item)));
        }
    }
}
