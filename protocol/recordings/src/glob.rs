//! Patterns for names: `*` for any number of characters, `?` for one.

/// Whether a name, or the name behind `Vehicle.Private.`, is like one of these patterns.
pub fn matches_any(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| {
        let pattern = pattern.strip_prefix("Vehicle.Private.").unwrap_or(pattern);
        matches(pattern.as_bytes(), name.as_bytes())
    })
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // Where the last star stood, and what it has swallowed so far.
    let (mut at, mut behind, mut star) = (0, 0, None);
    loop {
        match (pattern.get(at), name.get(behind)) {
            (Some(b'*'), _) => {
                star = Some((at, behind));
                at += 1;
            }
            (Some(wanted), Some(found)) if *wanted == b'?' || wanted == found => {
                at += 1;
                behind += 1;
            }
            (None, None) => return true,
            _ => {
                let Some((star_at, swallowed)) = star else { return false };
                if swallowed >= name.len() {
                    return false;
                }
                star = Some((star_at, swallowed + 1));
                (at, behind) = (star_at + 1, swallowed + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name, want) in [
            ("*", "", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbbd", false),
            ("gnss_imu.*", "gnss_imu.AccelerationX", true),
            ("*.Speed", "gnss_speed.Speed", true),
            ("*.Speed", "gnss_speed.SpeedValid", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("", "a", false),
            ("Vehicle.Private.x", "x", true),
        ] {
            assert_eq!(matches_any(&[pattern.to_owned()], name), want, "{pattern} {name}");
        }
    }
}
