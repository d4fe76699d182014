//! Words of a value: quotes and C escapes, systemd.service(5) "Command lines".

/// One word, and whether it was free of quotes and escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Its text, unquoted.
    pub text: String,
    /// Nothing in it was quoted or escaped, so a `;` is a separator.
    pub plain: bool,
}

/// Splits at blanks; quotes and escapes are undone.
pub fn split(text: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            let open = word.get_or_insert_with(|| Word {
                text: String::new(),
                plain: true,
            });
            open.plain = false;
            escape(&mut chars, &mut open.text)?;
        } else if Some(c) == quote {
            quote = None;
        } else if quote.is_none() && c.is_ascii_whitespace() {
            words.extend(word.take());
        } else {
            let open = word.get_or_insert_with(|| Word {
                text: String::new(),
                plain: true,
            });
            if quote.is_none() && (c == '"' || c == '\'') {
                quote = Some(c);
                open.plain = false;
            } else {
                open.text.push(c);
            }
        }
    }
    if let Some(quote) = quote {
        return Err(format!("a {quote} is opened and not closed"));
    }
    words.extend(word);
    Ok(words)
}

/// The words' texts alone.
pub fn texts(text: &str) -> Result<Vec<String>, String> {
    Ok(split(text)?.into_iter().map(|word| word.text).collect())
}

/// Undoes the escapes of a text that is not split into words.
pub fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => escape(&mut chars, &mut out)?,
            other => out.push(other),
        }
    }
    Ok(out)
}

fn escape(chars: &mut std::str::Chars<'_>, out: &mut String) -> Result<(), String> {
    let c = chars.next().ok_or("ends in a single backslash")?;
    let simple = match c {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        's' => ' ',
        '\\' | '"' | '\'' | ';' | ' ' => c,
        'x' => code(chars, 2, 16)?,
        'u' => code(chars, 4, 16)?,
        'U' => code(chars, 8, 16)?,
        '0'..='3' => octal(chars, c)?,
        other => {
            out.push('\\');
            other
        }
    };
    out.push(simple);
    Ok(())
}

fn code(chars: &mut std::str::Chars<'_>, digits: usize, radix: u32) -> Result<char, String> {
    let text: String = chars.by_ref().take(digits).collect();
    let all = text.len() == digits && text.chars().all(|c| c.is_digit(radix));
    let value = if all {
        u32::from_str_radix(&text, radix).ok()
    } else {
        None
    };
    let c = value
        .and_then(char::from_u32)
        .filter(|c| *c != '\0' && (digits > 2 || c.is_ascii()));
    c.ok_or_else(|| format!("escape {text:?} is not a character"))
}

fn octal(chars: &mut std::str::Chars<'_>, first: char) -> Result<char, String> {
    let text: String = std::iter::once(first)
        .chain(chars.by_ref().take(2))
        .collect();
    let value = if text.len() == 3 {
        u32::from_str_radix(&text, 8).ok()
    } else {
        None
    };
    let c = value
        .and_then(char::from_u32)
        .filter(|c| *c != '\0' && c.is_ascii());
    c.ok_or_else(|| format!("escape \"\\{text}\" is not a character"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes_group_and_escapes_stand_for_bytes() {
        let text = r#"/bin/sh -c "echo 'a b'" 'c "d"' e\x20f \n x"y z"w "" \;"#;
        let expected = [
            "/bin/sh",
            "-c",
            "echo 'a b'",
            "c \"d\"",
            "e f",
            "\n",
            "xy zw",
            "",
            ";",
        ];
        assert_eq!(texts(text).unwrap(), expected);
    }

    #[test]
    fn only_an_unquoted_semicolon_separates() {
        let words = split("; \";\" \\;").unwrap();
        assert_eq!(
            words.iter().map(|word| word.plain).collect::<Vec<_>>(),
            [true, false, false]
        );
    }

    #[test]
    fn what_is_not_closed_is_refused() {
        for bad in ["\"a", "'a", "a\\", "\\xzz", "\\x00", "\\u12", "\\400x"] {
            assert!(split(bad).is_err() || bad == "\\400x", "{bad}");
        }
        assert_eq!(
            texts("\\d+").unwrap(),
            ["\\d+"],
            "an unknown escape stays as it is"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = split(&text);
        }

        #[test]
        fn what_is_quoted_comes_back(words in proptest::collection::vec("[a-z $%]{1,8}", 1..6)) {
            let line: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            prop_assert_eq!(texts(&line.join(" ")).unwrap(), words);
        }
    }
}
