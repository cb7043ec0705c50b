//! Upstream. (Placeholder until the module is merged.)

/// Placeholder.
pub struct Upstreams;
