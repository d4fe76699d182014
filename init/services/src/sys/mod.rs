//! Every `unsafe` of the node services, each behind a safe function that states why it is sound.
#![allow(unsafe_code)]

pub(crate) mod block;
pub(crate) mod clock;
pub(crate) mod handed;
pub(crate) mod inotify;
pub(crate) mod interface;
pub(crate) mod loop_device;
pub(crate) mod message;
pub(crate) mod packet;
