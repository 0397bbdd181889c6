//! Nodes that misbehave on purpose.
//!
//! Each is the real `ion`, whose keys, promises and signatures are as good as anybody's; only what its devices do is
//! not. Tests: `testnet/tests/liar.rs` and `challenge.rs` beside it.

pub mod liar;
