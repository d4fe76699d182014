//! Every `unsafe` of PID 1, each behind a safe function that states why it is sound.
#![allow(unsafe_code)]

pub(crate) mod bpf;
pub(crate) mod child;
pub(crate) mod clone;
pub(crate) mod descriptor;
pub(crate) mod device_mapper;
pub(crate) mod heap;
pub(crate) mod image;
pub(crate) mod ipc;
pub(crate) mod loop_device;
pub(crate) mod loopback;
pub(crate) mod message;
pub(crate) mod reboot;
pub(crate) mod reexec;
pub(crate) mod signal;
pub(crate) mod wait;
pub(crate) mod watchdog;
