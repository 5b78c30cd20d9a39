//! The seeds and the committed corpora, put through every target. In one test: memory is counted for
//! the whole process.

use std::panic::catch_unwind;

use milepost_fuzz::{all, bound, corpus, planted};

#[test]
fn every_seed_and_every_committed_input_holds() {
    for target in all() {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{}: nothing to begin with", target.name);
        let committed = corpus::read(target.name).into_iter().map(|(_, input)| input);
        bound::reset();
        for input in seeds.into_iter().chain(committed) {
            assert!(input.len() <= target.len_max, "{}: too long to be tried", target.name);
            eprintln!("{}: {}", target.name, input.escape_ascii());
            (target.run)(&input);
        }
        // Nothing at all is an input, too, and so is what never ends a number.
        (target.run)(&[]);
        (target.run)(&vec![0xff; target.len_max.min(512)]);
        (target.run)(&vec![0; target.len_max.min(512)]);
        assert!(bound::peak() <= target.alloc_max, "{}: {}", target.name, bound::peak());
    }
    let names: std::collections::HashSet<_> = all().map(|target| target.name).collect();
    assert_eq!(names.len(), all().count(), "two targets of one name");
    // The bound notices what takes more.
    assert!(catch_unwind(|| bound::bounded(10, || vec![0_u8; 11])).is_err());
    assert_eq!(planted::FAULTS.len(), 5);
}
