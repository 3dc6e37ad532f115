//! The bank sample as a process to be started, killed and checked from outside: nothing here knows its code.
#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod process;
pub(crate) mod verify;
