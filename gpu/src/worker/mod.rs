//! The child process in which foreign kernels run: `ion worker`, one tenant at a time.
//!
//! Owns the child's side: its limits on itself, the frames, the job. It holds no key, opens no socket and no file of
//! the node's, and knows no peer or price. The node's `workers` module starts, watches and kills it. Tests with the real
//! binary: `node/tests/workers.rs`.

pub mod frame;
