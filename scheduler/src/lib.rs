//! The pure engine of an Ion node: inputs in, effects out.
