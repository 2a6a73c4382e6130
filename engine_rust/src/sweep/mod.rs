//! A sweep: many combinations at once.

pub mod lanes;
pub mod lists;
pub mod outcomes;
pub mod plan;
