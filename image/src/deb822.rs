//! deb822(5): paragraphs of fields, as Release, Packages and apt's sources are written.
//!
//! Values borrow from the text: a Packages file has 60 MB and we look at few of its fields.

/// One paragraph.
#[derive(Debug, Clone, Default)]
pub(crate) struct Paragraph<'a> {
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Paragraph<'a> {
    /// A field's value with its continuation lines, blanks at both ends dropped; names are the same in any case.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }
}

/// The paragraphs of a text. Lines that are no field are left out: whoever needs a field misses it by name.
pub(crate) fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph<'_>> {
    Paragraphs { rest: text }
}

struct Paragraphs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Paragraphs<'a> {
    type Item = Paragraph<'a>;

    fn next(&mut self) -> Option<Paragraph<'a>> {
        let mut paragraph = Paragraph::default();
        // The field being read: its name and where its value begins and ends in `rest`.
        let mut open: Option<(&'a str, usize, usize)> = None;
        let text = self.rest;
        let mut at = 0;
        while at < text.len() {
            let line_end = text[at..].find('\n').map_or(text.len(), |end| at + end);
            let line = &text[at..line_end];
            let next = (line_end + 1).min(text.len());
            if line.trim().is_empty() {
                at = next;
                if open.is_some() {
                    break;
                }
                continue;
            }
            if line.starts_with([' ', '\t']) {
                if let Some((_, _, end)) = &mut open {
                    *end = line_end;
                }
            } else if !line.starts_with('#')
                && let Some(colon) = line.find(':')
            {
                if let Some((name, begin, end)) = open.take() {
                    paragraph.fields.push((name, text[begin..end].trim()));
                }
                open = Some((&line[..colon], at + colon + 1, line_end));
            }
            at = next;
        }
        self.rest = &text[at..];
        let (name, begin, end) = open?;
        paragraph.fields.push((name, text[begin..end].trim()));
        Some(paragraph)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_and_continuations_are_read() {
        let text = "\nPackage: a\nDepends: b,\n c\n# comment\nSize: 3\n\n\n \nPackage: d\nEmpty:\n";
        let read: Vec<_> = paragraphs(text).collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].get("package"), Some("a"));
        assert_eq!(read[0].get("Depends"), Some("b,\n c"));
        assert_eq!(read[0].get("Size"), Some("3"));
        assert_eq!(read[1].get("Empty"), Some(""));
        assert_eq!(read[1].get("Size"), None);
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics_and_ends(text in "[a: \n#\u{e9}]{0,80}") {
            proptest::prop_assert!(paragraphs(&text).count() <= text.len());
        }
    }
}
