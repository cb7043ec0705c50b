//! Keys. (Placeholder until the key set is merged.)

/// Placeholder.
#[derive(Clone)]
pub struct SharedKeySet;
