//! Names that are nobody's in DNS, and that no upstream is to hear of: `invalid` (RFC 6761, section 6.4) and `onion`
//! (RFC 7686).

use super::{Node, is_in};
use crate::resolver::wire::{Local, Question};

pub(super) fn answer(question: &Question, _: &dyn Node) -> Option<Local> {
    let nobodys = ["invalid", "onion"]
        .iter()
        .any(|name| is_in(question, name));
    nobodys.then_some(Local::NoName)
}
