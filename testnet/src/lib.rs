//! Local Ion networks of real `ion` processes, and ways to break them.
//!
//! Owns the demo, the kill harness and the tests of the whole: [`cluster`] starts, stops, kills and freezes real
//! processes on loopback; [`programs`] writes jobs and checks their results by an independent computation; [`demo`],
//! [`chaos`] and [`up`] are the three things a person can ask for; [`report`] merges all event logs into one timeline.
//!
//! Never reads a node's memory or files of its ledger: it uses what an operator has, which is the command line, the
//! control API behind it, and the event lines a node prints. Whatever is waited for is a typed line under a deadline,
//! never a length of time. Tests of the whole are in `testnet/tests/`.

pub mod adversary;
pub mod chaos;
pub mod cluster;
pub mod demo;
pub mod fit;
pub mod jobs;
pub mod programs;
pub mod receipts;
pub mod report;
pub mod table;
pub mod up;
