//! The pure engine of an Ion node: inputs in, effects out.
//!
//! Reading [`input::Input`] and [`effect::Effect`] is reading the system. The engine does no I/O, reads no clock and
//! draws no random number it was not given: the same seed and inputs give the same effects, byte for byte. Signing is
//! arithmetic, so the engine holds the node's key; what it signs leaves only after [`effect::Effect::Record`] came back
//! as [`input::Input::Recorded`].

#![allow(clippy::large_enum_variant, reason = "inputs and effects are moved once and matched at once")]

pub mod challenger;
mod claims;
mod config;
mod deadline;
mod directory;
pub mod effect;
pub mod engine;
pub mod event;
pub mod input;
mod matching;
mod outbox;
mod provider;
mod reputation;
mod requester;
mod rooms;
mod score;
pub mod view;

pub use config::Config;
pub use effect::Effect;
pub use engine::{Engine, Past};
pub use input::Input;
