//! Why a login at an upstream failed, in words of our own.

/// Why a login at an upstream came to nothing. Nothing in it repeats what the upstream wrote.
#[derive(Debug)]
pub enum UpstreamError {
    /// It cannot be reached or is broken; a later attempt may succeed.
    Unavailable(anyhow::Error),
    /// The person declined there.
    Denied,
    /// It answered something that must not be believed, or refused us; the code says which rule.
    Refused(&'static str),
    /// A new login was demanded and the upstream's is older, or unproven.
    NotFresh,
}

impl UpstreamError {
    /// A fixed code for machines: error pages, audit, metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "upstream_unavailable",
            Self::Denied => "access_denied",
            Self::Refused(code) => code,
            Self::NotFresh => "login_not_fresh",
        }
    }

    /// What the operator's log may say; never shown to people.
    pub fn detail(&self) -> String {
        match self {
            Self::Unavailable(error) => format!("{error:#}"),
            other => other.code().to_owned(),
        }
    }

    pub(super) fn unavailable(what: &'static str) -> Self {
        Self::Unavailable(anyhow::anyhow!(what))
    }
}

impl std::fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl std::error::Error for UpstreamError {}
