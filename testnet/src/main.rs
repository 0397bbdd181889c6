//! The binary `ion-testnet`.

fn main() {}
