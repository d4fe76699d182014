//! What the node answers itself, before any upstream is asked. [`TABLE`] is asked in order, and the first that knows the
//! name counts: a new kind of name is a file and a row here.

mod localhost;
mod node;
mod special;

use std::net::IpAddr;

use super::wire::{Local, Name, Question};

/// What is known of the node.
pub(crate) trait Node: Send + Sync {
    /// Its hostname.
    fn hostname(&self) -> Option<String>;
    /// Addresses that other machines reach it at.
    fn addresses(&self) -> Vec<IpAddr>;
}

/// Answers a question, or leaves it to the next.
type Answerer = fn(&Question, &dyn Node) -> Option<Local>;

const TABLE: [Answerer; 3] = [localhost::answer, node::answer, special::answer];

/// The node's own answer to a question, if it is about a name of its own.
pub(crate) fn answer(question: &Question, node: &dyn Node) -> Option<Local> {
    TABLE.iter().find_map(|answer| answer(question, node))
}

/// Whether a question's name is this one or in it.
fn is_in(question: &Question, text: &str) -> bool {
    Name::of_text(text).is_some_and(|name| question.name.is_within(&name))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::resolver::wire::Record;
    use crate::resolver::wire::tests::question;

    pub(crate) struct Fixed;

    impl Node for Fixed {
        fn hostname(&self) -> Option<String> {
            Some("dev-1".into())
        }

        fn addresses(&self) -> Vec<IpAddr> {
            vec!["10.77.0.11".parse().unwrap(), "fd00::11".parse().unwrap()]
        }
    }

    fn asked(name: &str, rtype: u16) -> Option<Local> {
        answer(&question(name, rtype), &Fixed)
    }

    fn v4(text: &str) -> Record {
        Record::V4(text.parse().unwrap())
    }

    fn v6(text: &str) -> Record {
        Record::V6(text.parse().unwrap())
    }

    #[test]
    fn localhost_is_the_loopback_whoever_asks() {
        let both = Local::Records(vec![v4("127.0.0.1"), v6("::1")]);
        for name in ["localhost", "LocalHost", "a.b.localhost"] {
            assert_eq!(asked(name, 1), Some(both.clone()), "{name}");
        }
        assert_eq!(asked("localhost.example", 1), None);
        let pointer = Local::Records(vec![Record::Pointer(Name::of_text("localhost").unwrap())]);
        assert_eq!(asked("1.0.0.127.in-addr.arpa", 12), Some(pointer.clone()));
        let reverse = format!("1{}.ip6.arpa", ".0".repeat(31));
        assert_eq!(asked(&reverse, 12), Some(pointer));
        assert_eq!(asked("1.0.0.10.in-addr.arpa", 12), None);
    }

    #[test]
    fn the_hostname_is_the_nodes_own_addresses() {
        let both = Local::Records(vec![v4("10.77.0.11"), v6("fd00::11")]);
        assert_eq!(asked("dev-1", 1), Some(both.clone()));
        assert_eq!(asked("DEV-1", 16), Some(both));
        assert_eq!(asked("dev-2", 1), None);
        assert_eq!(asked("dev-1.example", 1), None);
    }

    #[test]
    fn a_node_without_an_address_still_finds_itself() {
        struct Alone;
        impl Node for Alone {
            fn hostname(&self) -> Option<String> {
                Some("dev-1".into())
            }
            fn addresses(&self) -> Vec<IpAddr> {
                Vec::new()
            }
        }
        let loopback = Local::Records(vec![v4("127.0.0.1"), v6("::1")]);
        assert_eq!(answer(&question("dev-1", 1), &Alone), Some(loopback));
    }

    #[test]
    fn names_that_are_nobodys_are_not_asked_for() {
        for name in ["invalid", "a.invalid", "abc.onion"] {
            assert_eq!(asked(name, 1), Some(Local::NoName), "{name}");
        }
        assert_eq!(asked("onion.example", 1), None);
    }
}
