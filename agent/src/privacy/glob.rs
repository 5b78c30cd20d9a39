//! Paths with wildcards.

/// Whether `path` is what `glob` says: `*` stands for any characters, none and dots included, `?`
/// for any one byte.
pub fn matches(glob: &str, path: &str) -> bool {
    let (mut glob, mut path) = (glob.as_bytes(), path.as_bytes());
    // Where to go on if what follows the latest star does not fit: one byte further.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (glob.split_first(), path.split_first()) {
            (Some((b'*', after)), _) => {
                retry = Some((after, path));
                glob = after;
            }
            (Some((wanted, after)), Some((byte, rest))) if wanted == byte || *wanted == b'?' => {
                (glob, path) = (after, rest);
            }
            (None, None) => return true,
            _ => match retry.take().and_then(|(after, from)| Some((after, from.get(1..)?))) {
                None => return false,
                Some((after, from)) => {
                    (glob, path) = (after, from);
                    retry = Some((after, from));
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_reach_over_dots() {
        for (glob, path, want) in [
            ("Vehicle.Cabin.*", "Vehicle.Cabin.Door.IsOpen", true),
            ("Vehicle.Cabin.*", "Vehicle.Cabin", false),
            ("Vehicle.Cabin.*", "Vehicle.Cabinet.Door", false),
            ("*.Latitude", "Vehicle.CurrentLocation.Latitude", true),
            ("*Location*", "Vehicle.CurrentLocation.Latitude", true),
            ("Vehicle.Speed", "Vehicle.Speed", true),
            ("Vehicle.Speed", "Vehicle.Speed2", false),
            ("Vehicle.?peed", "Vehicle.Speed", true),
            ("a*b*c", "axxbyybzzc", true),
            ("a*b*c", "axxbyyb", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(glob, path), want, "{glob} {path}");
        }
    }
}
