//! Numbers, times and durations as people read them. Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// `1,234,567`
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `2 rows`
pub fn count(value: u64, noun: &str) -> String {
    let plural = if value == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", number(value))
}

/// The two largest units: `850 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`, `1 d 3 h`
pub fn duration(value: Duration) -> String {
    let seconds = value.as_secs();
    match seconds {
        0 => format!("{} ms", value.as_millis()),
        1..10 => format!("{seconds}.{} s", value.subsec_millis() / 100),
        10..60 => format!("{seconds} s"),
        60..3_600 => two((seconds / 60, "min"), (seconds % 60, "s")),
        3_600..86_400 => two((seconds / 3_600, "h"), (seconds / 60 % 60, "min")),
        _ => two((seconds / 86_400, "d"), (seconds / 3_600 % 24, "h")),
    }
}

fn two((large, unit): (u64, &str), (small, part): (u64, &str)) -> String {
    match small {
        0 => format!("{} {unit}", number(large)),
        _ => format!("{} {unit} {small} {part}", number(large)),
    }
}

/// `1998-05-31 00:00:00 UTC`
pub fn time(value: DateTime<Utc>) -> String {
    value.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Text with nothing in it that could steer a terminal: control characters and those that reverse
/// the direction of writing become visible marks.
pub fn visible(text: &str) -> String {
    text.chars().map(|character| if steers(character) { '\u{fffd}' } else { character }).collect()
}

fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (123_456, "123,456"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(count(1, "row"), "1 row");
        assert_eq!(count(2_000, "row"), "2,000 rows");
    }

    #[test]
    fn durations_show_their_two_largest_units() {
        let cases = [
            (0, "0 ms"),
            (850, "850 ms"),
            (4_290, "4.2 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 5 min"),
            (97_200_000, "1 d 3 h"),
        ];
        for (milliseconds, text) in cases {
            assert_eq!(duration(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn nothing_shown_steers_the_terminal() {
        assert_eq!(visible("a\u{1b}[2Jb\u{202e}é"), "a\u{fffd}[2Jb\u{fffd}é");
    }
}
