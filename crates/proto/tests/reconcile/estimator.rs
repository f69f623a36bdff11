//! The estimator: pinned bytes, error per number of differences.

use crate::{Random, mean_and_part};
use tombolo_model::Malformed;
use tombolo_model::id::hex;
use tombolo_proto::reconcile::estimator::{ESTIMATOR_BYTES, Estimator};

#[test]
fn the_bytes_are_pinned() {
    let mut estimator = Estimator::new();
    for item in 0..400 {
        estimator.insert(item);
    }
    let bytes = estimator.to_bytes();
    assert_eq!(bytes.len(), ESTIMATOR_BYTES);
    assert_eq!(hex(&bytes[..16]), "01fffefe04010100000000fe02ff0300");
    assert_eq!(hex(&bytes[128..144]), "ff0301010500000100fc010101020000");
    assert_eq!(hex(&bytes[256..272]), "fc00fffffffffe0101fefe0201010002");
    assert_eq!(Estimator::from_bytes(&bytes).unwrap(), estimator);
    for item in 0..400 {
        estimator.remove(item);
    }
    assert_eq!(estimator, Estimator::default());
}

#[test]
fn another_length_is_refused() {
    assert_eq!(Estimator::from_bytes(&[0; ESTIMATOR_BYTES - 1]), Err(Malformed::Truncated));
    assert_eq!(Estimator::from_bytes(&[0; ESTIMATOR_BYTES + 1]), Err(Malformed::TooLarge("estimator")));
}

#[test]
fn error_per_number_of_differences() {
    let mut random = Random(11);
    for shared in [20_000, 200_000] {
        let mut common = Estimator::new();
        random.items(shared).into_iter().for_each(|item| common.insert(item));
        for (differences, rounds, part_max) in [
            (1, 2000, 0.0),
            (3, 2000, 0.0),
            (8, 2000, 0.0),
            (10, 2000, 0.0),
            (30, 1000, 0.20),
            (100, 1000, 0.15),
            (1000, 300, 0.18),
            (10_000, 60, 0.20),
            (100_000, 20, 0.20),
        ] {
            let mut errors = Vec::new();
            for _ in 0..rounds {
                let (mut mine, mut theirs) = (common.clone(), common.clone());
                for item in random.items(differences) {
                    if item & 1 == 0 { mine.insert(item) } else { theirs.insert(item) }
                }
                let found = mine.difference(&theirs);
                assert_eq!(found, theirs.difference(&mine));
                assert!(found > 0, "{differences} differences seen as none");
                assert!(differences > 8 || found.abs_diff(differences as u64) <= 2, "{differences} seen as {found}");
                errors.push((found as f64 / differences as f64 - 1.0).abs());
            }
            let (mean, part) = mean_and_part(&mut errors, 0.95);
            println!(
                "{shared} shared, {differences} differences: error {:.1} % mean, {:.1} % p95",
                mean * 100.0,
                part * 100.0
            );
            assert!(part <= part_max, "{differences}: p95 error {part}");
        }
        assert_eq!(common.difference(&common), 0);
    }
}

#[test]
fn up_to_eight_differences_are_counted_exactly() {
    let mut random = Random(12);
    let mut wrong = 0;
    for round in 0..20_000 {
        let differences = 1 + round % 8;
        let mut estimator = Estimator::new();
        random.items(differences).into_iter().for_each(|item| estimator.insert(item));
        wrong += usize::from(estimator.difference(&Estimator::new()) != differences as u64);
    }
    println!("1 to 8 differences: {wrong} of 20,000 not exact");
    assert!(wrong <= 40, "{wrong} of 20,000 wrong");
}

#[test]
fn far_too_many_stay_far_too_many() {
    let mut random = Random(13);
    for differences in [300_000, 1_000_000, 3_000_000] {
        let mut estimator = Estimator::new();
        for _ in 0..differences {
            estimator.insert(random.next());
        }
        let found = estimator.difference(&Estimator::new());
        println!("{differences} differences: {found}");
        assert!(found > 200_000, "{differences} seen as {found}");
    }
}
