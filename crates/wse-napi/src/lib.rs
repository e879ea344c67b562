//! The addon: conversions between the engine and JavaScript, no decisions.
