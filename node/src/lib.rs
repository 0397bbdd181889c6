//! The Ion node: a pure engine (`ion-scheduler`) with a thin driver that feeds it and carries out its effects.
//!
//! ```text
//! peers <-> [net: swarm loop] <--> [driver loop: Engine] <--> control (CLI)
//!                                     |      |      |
//!                                  ledger  blobs  workers --> `ion worker` (child) --> gpu
//! ```
//! A star: services never talk to each other, the driver is the hub, and each fact has one owner.

pub mod bench;
pub mod blobs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod doctor;
pub mod driver;
pub mod events;
pub mod files;
pub mod identity;
pub mod ledger;
pub mod manifest;
pub mod net;
pub mod owner;
pub mod show;
pub mod tasks;
pub mod workers;
