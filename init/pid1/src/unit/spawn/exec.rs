//! The program with its arguments and variables, ready for the kernel.

use std::ffi::{CString, c_char};
use std::io;

use spec_unit::plan::ExecPlan;

use super::text;

/// The program with its arguments and variables, ready for the kernel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exec {
    /// Its path.
    pub(crate) program: CString,
    arguments: Vec<CString>,
    variables: Vec<CString>,
    /// `LISTEN_PID=` and room for a number.
    listen_pid: Option<Box<[u8; 24]>>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
}

impl Exec {
    pub(super) fn new(plan: &ExecPlan) -> io::Result<Self> {
        let mut variables: Vec<String> = plan
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let names: Vec<&str> = plan.fds.names().collect();
        let listen_pid = (!names.is_empty()).then(|| {
            variables.push(format!("LISTEN_FDS={}", names.len()));
            variables.push(format!("LISTEN_FDNAMES={}", names.join(":")));
            Box::new([0; 24])
        });
        let mut exec = Self {
            program: text(&plan.program)?,
            arguments: plan
                .argv
                .iter()
                .map(|argument| text(argument))
                .collect::<io::Result<_>>()?,
            variables: variables
                .iter()
                .map(|variable| text(variable))
                .collect::<io::Result<_>>()?,
            listen_pid,
            argv: Vec::new(),
            envp: Vec::new(),
        };
        // The strings live on the heap: moving `exec` does not move them.
        let end = std::iter::once(std::ptr::null());
        exec.argv = exec
            .arguments
            .iter()
            .map(|text| text.as_ptr())
            .chain(end.clone())
            .collect();
        let listen = exec.listen_pid.iter().map(|text| text.as_ptr().cast());
        exec.envp = exec
            .variables
            .iter()
            .map(|text| text.as_ptr())
            .chain(listen)
            .chain(end)
            .collect();
        Ok(exec)
    }

    /// Arguments, ended by null.
    pub(crate) fn argv(&self) -> *const *const c_char {
        self.argv.as_ptr()
    }

    /// Variables, ended by null.
    pub(crate) fn envp(&self) -> *const *const c_char {
        self.envp.as_ptr()
    }

    /// Writes the child's own number into LISTEN_PID, without allocating.
    pub(crate) fn set_listen_pid(&mut self, pid: i32) {
        let Some(buffer) = &mut self.listen_pid else {
            return;
        };
        let mut digits = [b'0'; 10];
        let mut count = 0;
        let mut rest = pid.unsigned_abs();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            count += 1;
            if rest == 0 {
                break;
            }
        }
        let number = digits.iter().skip(digits.len() - count);
        let text = b"LISTEN_PID="
            .iter()
            .chain(number)
            .chain(std::iter::once(&0));
        for (to, from) in buffer.iter_mut().zip(text) {
            *to = *from;
        }
    }
}
