//! The binary `ion`.

fn main() {}
