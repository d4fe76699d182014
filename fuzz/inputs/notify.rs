//! A message of a service to PID 1, sd_notify(3).

use spec_unit::directive::notify::is_fd_name;
use spec_unit::notify::{MAX_STATUS, Message};

pub fn run(bytes: &[u8]) {
    let message = Message::parse(bytes);
    if let Some(status) = &message.status {
        assert!(status.len() <= MAX_STATUS, "{} bytes", status.len());
        assert!(!status.chars().any(char::is_control), "{status:?}");
    }
    assert!(message.main_pid.is_none_or(|pid| pid > 1), "{message:?}");
    assert!(
        message.fd_name.as_deref().is_none_or(is_fd_name),
        "{message:?}"
    );
    // What nobody knows changes nothing.
    let mut longer = bytes.strip_suffix(b"\0").unwrap_or(bytes).to_vec();
    longer.extend(b"\nX_UNKNOWN=1\nnonsense\n");
    assert_eq!(Message::parse(&longer), message);
}
