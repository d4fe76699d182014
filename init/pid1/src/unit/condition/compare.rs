//! Operators, versions and patterns of checks.
//!
//! Source: systemd.unit(5); UAPI.10 Version Format Specification; glob(7).

use std::cmp::Ordering;

/// How two things are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    /// `$=`, or `!$=` where false: a pattern.
    Pattern(bool),
    /// `=`, or `!=` where false: the same text.
    Text(bool),
    /// `<`.
    Lower,
    /// `<=`.
    LowerOrEqual,
    /// `==`, or `<>` where false.
    Equal(bool),
    /// `>=`.
    GreaterOrEqual,
    /// `>`.
    Greater,
}

/// By how they are written; longer ones first.
const OPERATORS: &[(&str, Operator)] = &[
    ("!$=", Operator::Pattern(false)),
    ("$=", Operator::Pattern(true)),
    ("<>", Operator::Equal(false)),
    ("<=", Operator::LowerOrEqual),
    ("<", Operator::Lower),
    (">=", Operator::GreaterOrEqual),
    (">", Operator::Greater),
    ("==", Operator::Equal(true)),
    ("=", Operator::Text(true)),
    ("!=", Operator::Text(false)),
];

impl Operator {
    /// The operator at the beginning of a text, and what follows it.
    pub(super) fn split(text: &str) -> Option<(Self, &str)> {
        OPERATORS
            .iter()
            .find_map(|(word, operator)| Some((*operator, text.strip_prefix(word)?)))
    }

    /// Where an operator begins in a text.
    pub(super) fn find(text: &str) -> Option<usize> {
        text.find(['!', '$', '<', '>', '='])
    }

    fn takes(self, order: Ordering) -> bool {
        match self {
            Self::Lower => order.is_lt(),
            Self::LowerOrEqual => order.is_le(),
            Self::Equal(equal) | Self::Text(equal) | Self::Pattern(equal) => order.is_eq() == equal,
            Self::GreaterOrEqual => order.is_ge(),
            Self::Greater => order.is_gt(),
        }
    }

    /// Whether a text compares so.
    pub(super) fn holds(self, text: &str, wanted: &str) -> bool {
        match self {
            Self::Pattern(equal) => matches(wanted, text) == equal,
            Self::Text(equal) => (text == wanted) == equal,
            operator => operator.takes(versions(text, wanted)),
        }
    }
}

/// Whether a text compares as all of the expressions say; one without an operator is a pattern.
pub(super) fn all_hold(text: &str, expressions: &str) -> Option<bool> {
    let words = spec_unit::words::texts(expressions).ok()?;
    let mut words = words.iter().map(String::as_str);
    let mut first = true;
    let mut held = true;
    while let Some(word) = words.next() {
        let (operator, wanted) = Operator::split(word).unwrap_or((Operator::Pattern(true), word));
        // The operator may stand by itself.
        let wanted = if wanted.is_empty() {
            words.next()?
        } else {
            wanted
        };
        held &= operator.holds(text, wanted);
        first = false;
    }
    (!first).then_some(held)
}

/// Whether a number compares so; at least, where no operator stands.
pub(super) fn number(
    number: u64,
    argument: &str,
    parse: impl Fn(&str) -> Option<u64>,
) -> Option<bool> {
    let (operator, wanted) =
        Operator::split(argument).unwrap_or((Operator::GreaterOrEqual, argument));
    if matches!(operator, Operator::Pattern(_)) {
        return None;
    }
    Some(operator.takes(number.cmp(&parse(wanted.trim())?)))
}

/// Which of two versions is later.
fn versions(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    loop {
        (left, right) = (valid(left), valid(right));
        // A ~ is before everything, even before the end.
        let tilde = |text: &[u8]| text.first() == Some(&b'~');
        let order = tilde(right).cmp(&tilde(left));
        if order.is_ne() {
            return order;
        }
        if tilde(left) {
            (left, right) = (rest(left), rest(right));
            continue;
        }
        if left.is_empty() || right.is_empty() {
            return right.is_empty().cmp(&left.is_empty());
        }
        if let Some(order) = b"-^.".iter().find_map(|mark| separator(left, right, *mark)) {
            if order.is_ne() {
                return order;
            }
            (left, right) = (rest(left), rest(right));
            continue;
        }
        let order;
        (order, left, right) = segment(left, right);
        if order.is_ne() {
            return order;
        }
    }
}

/// Whether one begins with the mark, or none if neither does: the one that does is before.
fn separator(left: &[u8], right: &[u8], mark: u8) -> Option<Ordering> {
    let (left, right) = (left.first() == Some(&mark), right.first() == Some(&mark));
    (left || right).then(|| right.cmp(&left))
}

fn rest(text: &[u8]) -> &[u8] {
    text.get(1..).unwrap_or_default()
}

/// From the next character that means something.
fn valid(text: &[u8]) -> &[u8] {
    let meant = |byte: &u8| byte.is_ascii_alphanumeric() || b"~-^.".contains(byte);
    let begin = text.iter().position(meant).unwrap_or(text.len());
    text.get(begin..).unwrap_or_default()
}

/// Compares the numbers, or else the letters, at the beginning; and what follows them.
fn segment<'a>(left: &'a [u8], right: &'a [u8]) -> (Ordering, &'a [u8], &'a [u8]) {
    let span = |text: &'a [u8], kind: fn(&u8) -> bool| {
        text.split_at(
            text.iter()
                .position(|byte| !kind(byte))
                .unwrap_or(text.len()),
        )
    };
    let numeric = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
    if numeric(left) || numeric(right) {
        // Letters are before numbers.
        let order = numeric(left).cmp(&numeric(right));
        let ((a, left), (b, right)) = (
            span(left, u8::is_ascii_digit),
            span(right, u8::is_ascii_digit),
        );
        let zeros = |text: &'a [u8]| span(text, |byte| *byte == b'0').1;
        let (a, b) = (zeros(a), zeros(b));
        return (
            order.then(a.len().cmp(&b.len())).then(a.cmp(b)),
            left,
            right,
        );
    }
    let ((a, left), (b, right)) = (
        span(left, u8::is_ascii_alphabetic),
        span(right, u8::is_ascii_alphabetic),
    );
    (a.cmp(b), left, right)
}

/// One place of a pattern.
enum Place {
    Star,
    Any,
    One(char),
    Set(bool, Vec<(char, char)>),
}

impl Place {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Star | Self::Any => true,
            Self::One(own) => *own == c,
            Self::Set(within, ranges) => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) == *within
            }
        }
    }
}

/// The places of a pattern; a bracket without an end is itself.
fn places(pattern: &str) -> Vec<Place> {
    let mut places = Vec::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        places.push(match c {
            '*' => Place::Star,
            '?' => Place::Any,
            '\\' => Place::One(rest.next().unwrap_or('\\')),
            '[' => match set(rest.as_str()) {
                Some((set, after)) => {
                    rest = after.chars();
                    set
                }
                None => Place::One('['),
            },
            c => Place::One(c),
        });
    }
    places
}

/// The set after a `[`, and what follows its `]`.
fn set(text: &str) -> Option<(Place, &str)> {
    let body = text.strip_prefix(['!', '^']);
    let within = body.is_none();
    let mut rest = body.unwrap_or(text).chars();
    let mut ranges = Vec::new();
    loop {
        let low = rest.next()?;
        // A ] that comes first is one of the set.
        if low == ']' && !ranges.is_empty() {
            return Some((Place::Set(within, ranges), rest.as_str()));
        }
        let mut ahead = rest.clone();
        match (ahead.next(), ahead.next()) {
            (Some('-'), Some(high)) if high != ']' => {
                rest = ahead;
                ranges.push((low, high));
            }
            _ => ranges.push((low, low)),
        }
    }
}

/// `*`, `?` and `[...]` as in a shell.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (places(pattern), text.chars().collect::<Vec<_>>());
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while let Some(c) = text.get(t) {
        match pattern.get(p) {
            Some(Place::Star) => {
                star = Some((p, t));
                p += 1;
            }
            Some(place) if place.takes(*c) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    let mut left = pattern.iter().skip(p);
    left.all(|place| matches!(place, Place::Star))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_ordered_as_their_specification_says() {
        let ordered = [
            "122.1~rc1",
            "122.1",
            "123~rc1-1",
            "123~rc1-2",
            "123",
            "123-a",
            "123-a.1",
            "123-1",
            "123-1.1",
            "123^post1",
            "123.a-1",
            "123.1-1",
            "123a-1",
            "124-1",
        ];
        for (at, left) in ordered.iter().enumerate() {
            for (other, right) in ordered.iter().enumerate() {
                assert_eq!(versions(left, right), at.cmp(&other), "{left} {right}");
            }
        }
        assert_eq!(versions("6.012.0", "6.12.0"), Ordering::Equal);
        assert_eq!(versions("6.9.1", "6.12"), Ordering::Less);
        assert_eq!(versions("6.1_2", "6.12"), Ordering::Less);
    }

    #[test]
    fn expressions_hold_together() {
        let kernel = "6.12.48+deb13-cloud-amd64";
        for (expressions, held) in [
            (">=6.1", Some(true)),
            (">= 6.1 <7", Some(true)),
            (">=6.1 <6.12", Some(false)),
            ("6.12.*", Some(true)),
            ("$=6.[0-9][0-9].*", Some(true)),
            ("!$=*-cloud-*", Some(false)),
            ("=6.12", Some(false)),
            ("!=6.12", Some(true)),
            ("<>6.12", Some(true)),
            ("\">= 6.1\"", Some(true)),
            ("", None),
            (">=", None),
        ] {
            // A blank within quotes belongs to the version, where it means nothing.
            assert_eq!(all_hold(kernel, expressions), held, "{expressions}");
        }
    }

    #[test]
    fn numbers_compare() {
        let parse = |text: &str| text.parse().ok();
        for (argument, held) in [
            ("4", Some(true)),
            ("5", Some(false)),
            ("<5", Some(true)),
            ("= 4", Some(true)),
            ("!=4", Some(false)),
            ("<>4", Some(false)),
            (">x", None),
            ("$=4", None),
        ] {
            assert_eq!(number(4, argument, parse), held, "{argument}");
        }
    }

    #[test]
    fn brackets_in_patterns() {
        assert!(matches("[]a]*", "]x") && matches("[!a-c]", "d") && !matches("[^a-c]", "b"));
        assert!(matches("[", "[") && matches("a\\*", "a*") && !matches("a\\*", "ab"));
        assert!(matches("[a-]", "-") && !matches("[", "a"));
    }

    proptest! {
        #[test]
        fn a_pattern_of_stars_matches_all(text in "[a-z]{0,20}") {
            let prefix = text.clone() + "*";
            prop_assert!(matches("*", &text) && matches(&prefix, &text) && matches(&text, &text));
            let holes: String = text.chars().map(|_| '?').collect();
            prop_assert!(matches(&holes, &text));
        }

        #[test]
        fn no_text_makes_a_comparison_panic_or_hang(left in "\\PC{0,30}", right in "\\PC{0,30}") {
            prop_assert_eq!(versions(&left, &right), versions(&right, &left).reverse());
            let _ = (matches(&left, &right), all_hold(&left, &right));
        }
    }
}
