//! Two agents on the same devices: what one of them lacks and the other is said to have, the other
//! has, or says for itself how it was lost.

use super::truth::Truth;

/// Samples that one sink was not given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gap {
    pub from: u64,
    pub to: u64,
    /// Of these, said to be with another agent.
    pub elsewhere: u64,
    /// The others.
    pub other: u64,
}

/// What overlapping gaps of both come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Overlap {
    from: u64,
    to: u64,
    /// With neither.
    missing: u64,
    /// That one of them says was lost, without naming the other.
    lost: u64,
}

/// I1, I3: of every stream that both were given, nothing is missing in both that each says the other
/// has. The first that is.
pub(super) fn compare(one: &Truth, other: &Truth) -> Option<String> {
    one.streams().find_map(|(of, lane, gaps)| {
        let others = other.gaps(of, lane)?;
        let overlap = overlaps(gaps, others).into_iter().find(|both| both.missing > both.lost)?;
        let Overlap { from, to, missing, lost } = overlap;
        let (vehicle, last) = (of.vehicle, to.saturating_sub(1));
        Some(format!(
            "vehicle {vehicle} ({lane}): of samples {from} to {last}, {missing} are with neither of \
             two agents, and only {lost} are said to be lost: each says that the other has them"
        ))
    })
}

/// Every run of gaps that touch each other.
fn overlaps(one: &[Gap], other: &[Gap]) -> Vec<Overlap> {
    let mut found: Vec<Overlap> = Vec::new();
    let (mut left, mut right) = (one.iter().peekable(), other.iter().peekable());
    let mut ends = [0, 0];
    loop {
        let is_left = match (left.peek(), right.peek()) {
            (None, None) => return found,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(left), Some(right)) => left.from <= right.from,
        };
        let next = if is_left { left.next() } else { right.next() };
        let Some(gap) = next else { return found };
        let [own, theirs] = if is_left { [0, 1] } else { [1, 0] };
        let reach = ends.get(theirs).copied().unwrap_or(0);
        let both = reach.min(gap.to).saturating_sub(gap.from);
        if let Some(end) = ends.get_mut(own) {
            *end = gap.to;
        }
        match found.last_mut() {
            Some(last) if gap.from < last.to => {
                last.to = last.to.max(gap.to);
                last.missing += both;
                last.lost += gap.other;
            }
            _ => found.push(Overlap { from: gap.from, to: gap.to, missing: 0, lost: gap.other }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(from: u64, to: u64, elsewhere: u64) -> Gap {
        Gap { from, to, elsewhere, other: to - from - elsewhere }
    }

    #[test]
    fn what_neither_has_must_be_said_to_be_lost_by_one() {
        let missing = |one: &[Gap], other: &[Gap]| {
            let found = overlaps(one, other);
            found.iter().map(|both| (both.missing, both.lost)).collect::<Vec<_>>()
        };
        assert_eq!(missing(&[gap(0, 10, 10)], &[gap(10, 20, 10)]), [(0, 0), (0, 0)]);
        assert_eq!(missing(&[gap(0, 10, 10)], &[gap(5, 20, 15)]), [(5, 0)]);
        assert_eq!(missing(&[gap(0, 10, 10)], &[gap(5, 20, 10)]), [(5, 5)]);
        assert_eq!(missing(&[gap(0, 30, 30)], &[gap(5, 9, 4), gap(20, 40, 20)]), [(14, 0)]);
        assert_eq!(missing(&[], &[gap(5, 9, 4)]), [(0, 0)]);
    }
}
