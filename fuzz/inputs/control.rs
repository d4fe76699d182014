//! A packet of the control protocol: a request, whose plan may be anything, or an answer.

use spec_unit::control::{Answer, Envelope, Request};
use spec_unit::name::UnitName;

use super::node::sound;

pub fn run(bytes: &[u8]) {
    if let Ok(answer) = serde_json::from_slice::<Answer>(bytes) {
        let text = serde_json::to_vec(&answer).expect("an answer can be written");
        assert_eq!(serde_json::from_slice::<Answer>(&text).ok(), Some(answer));
    }
    let Ok(envelope) = serde_json::from_slice::<Envelope>(bytes) else {
        return;
    };
    let text = serde_json::to_vec(&envelope).expect("a request can be written");
    let again: Envelope =
        serde_json::from_slice(&text).expect("a request that was written can be read");
    assert_eq!(again, envelope, "a request comes back as it was");
    match &envelope.request {
        Request::Run { plan, .. } => {
            for fds in [0, 3] {
                if plan.check(fds).is_ok() {
                    sound(plan, fds);
                }
            }
        }
        Request::Devices { devices, .. } => {
            for device in devices.iter().filter(|device| device.check().is_ok()) {
                let mut units = device.units();
                assert!(units.all(|unit| UnitName::parse(&unit).is_ok()));
            }
        }
        _ => {}
    }
}
