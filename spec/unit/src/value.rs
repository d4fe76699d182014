//! Values of directives: booleans, spans of time, sizes, percentages, modes, signals, paths. systemd.syntax(7),
//! systemd.time(7).
//!
//! Each function returns the value or a message that says what was expected.

use serde::{Deserialize, Serialize};

/// A boolean in any of systemd's spellings.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Ok(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Ok(false),
        _ => Err(format!("{text:?} is not a boolean; write yes or no")),
    }
}

const SPANS: &[(&str, u64)] = &[
    ("usec", 1),
    ("us", 1),
    ("µs", 1),
    ("msec", 1_000),
    ("ms", 1_000),
    ("seconds", 1_000_000),
    ("second", 1_000_000),
    ("sec", 1_000_000),
    ("s", 1_000_000),
    ("minutes", 60_000_000),
    ("minute", 60_000_000),
    ("min", 60_000_000),
    ("m", 60_000_000),
    ("hours", 3_600_000_000),
    ("hour", 3_600_000_000),
    ("hr", 3_600_000_000),
    ("h", 3_600_000_000),
    ("days", 86_400_000_000),
    ("day", 86_400_000_000),
    ("d", 86_400_000_000),
    ("weeks", 604_800_000_000),
    ("week", 604_800_000_000),
    ("w", 604_800_000_000),
];

/// A span of time in microseconds; none is `infinity`. A number alone is seconds.
pub fn span_us(text: &str) -> Result<Option<u64>, String> {
    span(text, |unit| match unit {
        "" => Some(1_000_000),
        unit => microseconds(unit),
    })
}

/// A span of time in nanoseconds; none is `infinity`. A number alone is nanoseconds.
pub fn span_ns(text: &str) -> Result<Option<u64>, String> {
    span(text, |unit| match unit {
        "" | "ns" | "nsec" => Some(1),
        unit => microseconds(unit)?.checked_mul(1000),
    })
}

fn microseconds(unit: &str) -> Option<u64> {
    let found = SPANS.iter().find(|(name, _)| *name == unit);
    found.map(|(_, scale)| *scale)
}

/// The sum of the numbers, each times what its unit stands for.
fn span(text: &str, scale: impl Fn(&str) -> Option<u64>) -> Result<Option<u64>, String> {
    let expected = || {
        format!(
            "{text:?} is not a span of time; write such as \"5s\", \"1min 30s\" or \"infinity\""
        )
    };
    if text.trim() == "infinity" {
        return Ok(None);
    }
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(expected());
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let digits = rest.len()
            - rest
                .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
                .len();
        let (number, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_alphabetic()).len();
        let (unit, tail) = tail.split_at(letters);
        let scale = scale(unit).ok_or_else(expected)?;
        total = total
            .checked_add(scaled(number, scale).ok_or_else(expected)?)
            .ok_or_else(expected)?;
        rest = tail.trim_start();
    }
    Ok(Some(total))
}

/// `1.5` times `scale`, without rounding through floating point.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || fraction.len() > 9 {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut total = whole.checked_mul(scale)?;
    if !fraction.is_empty() {
        let parts = 10u64.pow(fraction.len() as u32);
        let fraction: u64 = fraction.parse().ok()?;
        total = total
            .checked_add((u128::from(fraction) * u128::from(scale) / u128::from(parts)) as u64)?;
    }
    Some(total)
}

/// A size in bytes with a suffix to the base 1024.
pub fn size(text: &str) -> Result<u64, String> {
    let expected = || format!("{text:?} is not a size; write such as \"512M\" or \"2G\"");
    let text = text.trim();
    let letters = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(letters.len()..).unwrap_or_default() {
        "" | "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        "E" => 60,
        _ => return Err(expected()),
    };
    scaled(letters.trim_end(), 1 << shift).ok_or_else(expected)
}

/// A count, a size, a share of what the machine has, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// Bytes or a count.
    Value(u64),
    /// Hundredths of a percent.
    Permyriad(u32),
    /// No limit.
    Infinity,
}

impl Amount {
    /// What a cgroup file is given; `whole` is what 100 % is.
    pub fn cgroup_value(self, whole: u64) -> String {
        match self {
            Self::Value(value) => value.to_string(),
            Self::Permyriad(share) => (u128::from(whole) * u128::from(share) / 10_000).to_string(),
            Self::Infinity => "max".into(),
        }
    }
}

/// An [`Amount`] whose plain values are sizes.
pub fn amount(text: &str) -> Result<Amount, String> {
    match text.trim() {
        "infinity" => Ok(Amount::Infinity),
        text if text.ends_with('%') => Ok(Amount::Permyriad(permyriad(text)?.min(10_000))),
        text => size(text).map(Amount::Value),
    }
}

/// A percentage in hundredths of a percent; more than 100 % is allowed.
pub fn permyriad(text: &str) -> Result<u32, String> {
    let number = text
        .trim()
        .strip_suffix('%')
        .and_then(|number| scaled(number, 100));
    let value = number.and_then(|value| u32::try_from(value).ok());
    value.ok_or_else(|| format!("{text:?} is not a percentage; write such as \"20%\""))
}

/// An octal file mode of at most `7777`.
pub fn mode(text: &str) -> Result<u32, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let value = if digits {
        u32::from_str_radix(text, 8).ok()
    } else {
        None
    };
    value
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| format!("{text:?} is not an octal mode such as 0755"))
}

/// A decimal number within bounds.
pub fn number(text: &str, low: i64, high: i64) -> Result<i64, String> {
    let value = text
        .trim()
        .parse()
        .ok()
        .filter(|value| (low..=high).contains(value));
    value.ok_or_else(|| format!("{text:?} is not a number from {low} to {high}"))
}

/// An absolute path in normal form: no `..`, no repeated slashes, no slash at the end.
pub fn path(text: &str) -> Result<String, String> {
    let refuse = || format!("{text:?} is not an absolute path without \"..\"");
    if !text.starts_with('/') || text.len() > 4095 || text.contains('\0') {
        return Err(refuse());
    }
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        Err(refuse())
    } else {
        Ok(format!("/{}", parts.join("/")))
    }
}

/// Bytes in base 64, RFC 4648; blanks between the digits are nothing.
pub fn base64(text: &str) -> Result<Vec<u8>, String> {
    let expected = || "is not base 64".to_string();
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    if !digits.len().is_multiple_of(4) {
        return Err(expected());
    }
    let end = digits.len()
        - digits
            .iter()
            .rev()
            .take_while(|byte| **byte == b'=')
            .count();
    let (digits, padding) = digits.split_at(end);
    if padding.len() > 2 {
        return Err(expected());
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for four in digits.chunks(4) {
        let mut bits = 0u32;
        for digit in four {
            bits = bits << 6 | sextet(*digit).ok_or_else(expected)?;
        }
        let [_, whole @ ..] = (bits << (6 * (4 - four.len()))).to_be_bytes();
        let kept = four.len() - 1;
        // What is left over of the last digit must be nothing.
        if whole.iter().skip(kept).any(|byte| *byte != 0) {
            return Err(expected());
        }
        bytes.extend(whole.iter().take(kept));
    }
    Ok(bytes)
}

fn sextet(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// Signals by name as numbered on x86-64 and arm64.
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// A signal by name (with or without `SIG`), as `RTMIN+N` or by number.
pub fn signal(text: &str) -> Result<i32, String> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let real_time = match name.strip_prefix("RTMIN") {
        Some("") => Some(34),
        Some(offset) => offset
            .strip_prefix('+')
            .and_then(|n| n.parse::<i32>().ok())
            .and_then(|n| n.checked_add(34)),
        None => name.parse().ok(),
    };
    real_time
        .filter(|number| (1..=64).contains(number))
        .ok_or_else(|| format!("{text:?} is not a signal"))
}

/// The name of a signal, `SIG` included.
pub fn signal_name(number: i32) -> String {
    match SIGNALS.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => format!("SIG{name}"),
        None if (34..=64).contains(&number) => format!("SIGRTMIN+{}", number - 34),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_of_time_add_up() {
        let cases = [
            ("5", 5_000_000),
            ("1min 30s", 90_000_000),
            ("2h5m", 7_500_000_000),
            ("0.5s", 500_000),
        ];
        for (text, us) in cases {
            assert_eq!(span_us(text), Ok(Some(us)), "{text}");
        }
        assert_eq!(span_us("100ms"), Ok(Some(100_000)));
        assert_eq!(span_us("infinity"), Ok(None));
        assert_eq!(span_ns("50"), Ok(Some(50)));
        assert_eq!(span_ns("1us 5ns"), Ok(Some(1005)));
        assert_eq!(span_ns("2s"), Ok(Some(2_000_000_000)));
        for bad in [
            "",
            "s",
            "5 parsecs",
            "-1",
            "1.2.3",
            "99999999999999999999",
            "18446744073709551615w",
        ] {
            assert!(span_us(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_shares() {
        assert_eq!(size("1.5G"), Ok(3 << 29));
        assert_eq!(size("64K"), Ok(65536));
        assert!(size("5X").is_err());
        assert_eq!(amount("infinity"), Ok(Amount::Infinity));
        assert_eq!(amount("12.5%"), Ok(Amount::Permyriad(1250)));
        assert_eq!(Amount::Permyriad(1250).cgroup_value(800), "100");
        assert_eq!(permyriad("250%"), Ok(25_000));
    }

    #[test]
    fn base_64_is_read_and_nothing_else() {
        let cases: [(&str, &[u8]); 5] = [
            ("", b""),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9v IAD/ ++8=", b"foo \0\xff\xfb\xef"),
        ];
        for (text, bytes) in cases {
            assert_eq!(base64(text).as_deref(), Ok(bytes), "{text}");
        }
        for bad in [
            "Z", "Zg", "Zh==", "Zg=", "Z===", "Zg==Zg==", "====", "Z-__", "Zm9v!",
        ] {
            assert!(base64(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_paths_and_signals() {
        assert_eq!(mode("0755"), Ok(0o755));
        assert!(mode("0888").is_err() && mode("+7").is_err() && mode("17777").is_err());
        assert_eq!(path("/a//b/./c/").as_deref(), Ok("/a/b/c"));
        assert!(path("/a/../b").is_err() && path("a").is_err());
        assert_eq!(signal("SIGTERM"), Ok(15));
        assert_eq!(signal("RTMIN+3"), Ok(37));
        assert_eq!(signal_name(37), "SIGRTMIN+3");
        assert!(signal("SIGNOTHING").is_err() && signal("0").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,40}") {
            let _ = (span_us(&text), size(&text), amount(&text), mode(&text), path(&text), signal(&text), base64(&text));
        }
    }
}
