//! The only conversions between `pb` messages and domain types.
//!
//! Input is parsed here once, with an [`Invalid`] that names the field; output is rendered here.
