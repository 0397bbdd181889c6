//! Mistakes and examples.
