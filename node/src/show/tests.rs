//! The formats, byte for byte.
