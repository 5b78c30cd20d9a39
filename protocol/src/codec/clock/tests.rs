//! Which of two clocks an encoder takes. What it makes of a clock is in `golden/batches`.

use super::*;

/// Beats every 30 ticks, and every 27 and a half.
const TWO: Timing = Timing::Beats([480, 440]);

/// Where the phases are after these ticks, and how far off on the whole: fine ticks, and 256ths of a period
/// 64 times.
fn followed(ticks: &[i64]) -> [(i32, u32); 2] {
    let mut follower = Follower::default();
    for tick in ticks {
        follower.came(TWO, *tick);
    }
    follower.phases.map(|phase| (phase.at, phase.error))
}

#[test]
fn a_phase_goes_an_eighth_of_the_way_and_six_fine_ticks_at_most() {
    // On the first clock's beat, and 40 behind the second one's: 23 256ths.
    assert_eq!(followed(&[30]), [(480, 0), (445, 23)]);
    // 16 before the first clock's, and 24 behind the second one's.
    assert_eq!(followed(&[29]), [(478, 8), (443, 13)]);
    // 96 behind, and 136 behind.
    assert_eq!(followed(&[36]), [(486, 51), (446, 79)]);
    // 128 before, and 88 before.
    assert_eq!(followed(&[22]), [(474, 68), (434, 51)]);
    // Six beats behind, of which the second clock has more than six.
    assert_eq!(followed(&[180]), [(2880, 0), (2880, 0)]);
    assert_eq!(followed(&[181]), [(2882, 8), (2896, 0)]);
}

#[test]
fn half_a_beat_belongs_to_the_next_one() {
    // 240 of 480 before it.
    assert_eq!(followed(&[15])[0], (474, 128));
    assert_eq!(followed(&[14])[0], (6, 119));
    // 216 of 440 behind it, and 208 before the next one.
    assert_eq!(followed(&[41])[1], (446, 125));
    assert_eq!(followed(&[42])[1], (874, 121));
}

#[test]
fn what_is_off_is_forgotten_by_a_sixty_fourth_a_sample() {
    // A half of the first clock's, then 124 and 3 256ths, and each time 2 of what there was are forgotten.
    assert_eq!(followed(&[15, 15])[0], (468, 128 - 2 + 124));
    assert_eq!(followed(&[15, 30])[0], (474, 128 - 2 + 3));
}

#[test]
fn a_gap_is_not_taken_for_beats() {
    // Seven beats and more of either clock, and between all of them.
    for gap in [212, 220, 225, 230, 245, 260, 1000] {
        let fine = 16 * i32::try_from(gap).unwrap();
        assert_eq!(followed(&[gap]), [(fine, 0), (fine, 0)], "{gap}");
    }
    // Nor is a step backward of more than half a beat.
    for (back, error) in [(-15, 128), (-16, 0), (-29, 0), (-30, 0)] {
        assert_eq!(followed(&[back])[0].1, error, "{back}");
    }
    assert_eq!(followed(&[-16])[0], (-256, 0));
    assert_eq!(followed(&[-15])[0], (-6, 128));
}

#[test]
fn far_from_the_first_sample_phases_count_anew() {
    for (tick, origin) in [
        (SPAN - 1, 0),
        (SPAN, 0),
        (SPAN + 1, SPAN + 1),
        (-SPAN, 0),
        (-SPAN - 1, -SPAN - 1),
        (1 << 40, 1 << 40),
        (i64::MIN, i64::MIN),
    ] {
        let mut follower = Follower::default();
        follower.came(TWO, 29);
        follower.came(TWO, tick);
        assert_eq!(follower.origin, origin, "{tick}");
        let at = i32::try_from(tick.wrapping_sub(origin)).unwrap().wrapping_mul(FINE);
        assert_eq!(follower.phases.map(|phase| phase.at), [at; 2], "{tick}");
        assert_eq!(follower.phases.map(|phase| phase.error), [8, 13], "as before");
    }
}

#[test]
fn the_clock_that_is_less_off_is_the_best_and_of_two_alike_the_first() {
    let best = |timing, gap: i64| {
        let mut follower = Follower::default();
        (0..20).for_each(|at| follower.came(timing, 1_211_094_008_000 + at * gap / 2));
        follower.best()
    };
    assert_eq!([best(TWO, 60), best(TWO, 55)], [0, 1]);
    let other_way_round = Timing::Beats([440, 480]);
    assert_eq!([best(other_way_round, 60), best(other_way_round, 55)], [1, 0]);
    assert_eq!(best(Timing::Beats([480, 480]), 55), 0);
    assert_eq!(best(Timing::Sequence, 55), 0);
}
