//! Durations and sizes as people write them: `10m`, `6h`, `4GB`. A whole number and one unit;
//! anything else is `None`, and the caller says where it stood.

use std::time::Duration;

/// A hundred years: more is a slip, and would overflow calendars further on.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// `500ms`, `90s`, `10m`, `6h`, `1d`.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let duration = Duration::from_millis(number.checked_mul(milliseconds)?);
    (duration <= LONGEST).then_some(duration)
}

/// `4GB`, `512MB` (powers of ten), `64MiB` (powers of two); the unit in any case.
pub fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        let cases = [
            ("500ms", Some(Duration::from_millis(500))),
            ("90s", Some(Duration::from_secs(90))),
            ("10m", Some(Duration::from_mins(10))),
            (" 6 h ", Some(Duration::from_hours(6))),
            ("1d", Some(Duration::from_hours(24))),
            ("0s", Some(Duration::ZERO)),
            ("", None),
            ("10", None),
            ("m", None),
            ("-1s", None),
            ("1.5h", None),
            ("10 minutes", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
            ("36501d", None),
        ];
        for (text, expected) in cases {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn sizes_are_a_number_and_a_unit() {
        let cases = [
            ("4GB", Some(4_000_000_000)),
            ("512MB", Some(512_000_000)),
            ("64MiB", Some(64 << 20)),
            ("64mib", Some(64 << 20)),
            ("1 kb", Some(1000)),
            ("7B", Some(7)),
            ("4", None),
            ("GB", None),
            ("4GBB", None),
            ("18446744073709551615TB", None),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
