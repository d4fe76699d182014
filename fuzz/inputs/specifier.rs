//! A unit's name in the first line, the path of its file in the second, and a text with specifiers.

use spec_unit::name::{UnitName, drop_in_folders, unescape};
use spec_unit::specifier::Specifiers;

use super::node::facts;

pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (name, fragment, text) = (line(), line(), line());
    let _ = unescape(name);
    let Ok(name) = UnitName::parse(name) else {
        return;
    };
    named(&name);
    let facts = facts();
    let specifiers = Specifiers {
        name: &name,
        fragment,
        facts: &facts,
    };
    let expanded = specifiers.expand(text);
    if !text.contains('%') {
        assert_eq!(expanded, text);
    }
    assert_eq!(specifiers.expand(&text.replace('%', "%%")), text);
}

/// A name is what it was read from, and so are those that are made of it.
fn named(name: &UnitName) {
    assert_eq!(UnitName::parse(&name.to_string()).as_ref(), Ok(name));
    let template = name.template();
    if let Some(template) = &template {
        assert!(template.is_template());
        let instance = name.instance.as_deref().unwrap_or_default();
        assert_eq!(&template.with_instance(instance), name);
    }
    assert!(
        drop_in_folders(name)
            .iter()
            .all(|folder| folder.ends_with(".d"))
    );
}
