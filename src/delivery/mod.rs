//! The delivery of what is due: events to webhooks, logout notices to apps.
//!
//! What is to be sent stands in `deliveries`, written in the transaction of the change it tells of. The worker claims rows
//! under a lease, sends them, and records what came of it, if the lease is still its own: a result that comes late, when
//! somebody else has taken over, changes nothing. So everything is sent at least once, whenever a process ends; a receiver
//! knows repetitions by their id. Any number of instances may do this side by side.
//!
//! | file | what |
//! | --- | --- |
//! | [`worker`] | who claims, how many at once, when it wakes up, how it stops |
//! | [`endpoints`] | what is known of the endpoints, and how many places each may take |
//! | [`attempt`] | one attempt: sent, and what came of it recorded |
//! | [`ledger`] | the worker's statements, each with an end |
//! | [`webhook`] | one attempt to tell a webhook of an event |
//! | [`backchannel_logout`] | one attempt to tell an app that a session has ended |
//! | [`signature`] | what proves to a webhook who sent it |
//! | [`backoff`] | when a failed attempt is repeated |
//! | [`breaker`] | when an endpoint that does not answer is left alone |
//!
//! An attempt is a function from what is due to an [`Outcome`]; it writes nothing. Its codes are fixed words: what a receiver
//! answered, and where a name led to, is kept nowhere.

pub mod attempt;
pub mod backchannel_logout;
pub mod backoff;
pub mod breaker;
pub mod endpoints;
pub mod ledger;
pub mod signature;
pub mod webhook;
pub mod worker;

pub use worker::run;

use axum::http::StatusCode;

use crate::outbound::Failure;

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered { status_code: u16 },
    /// The receiver will never take it: it is not sent again.
    Permanent {
        code: &'static str,
        status_code: Option<u16>,
    },
    /// It may work later.
    Retry {
        code: &'static str,
        status_code: Option<u16>,
    },
    /// Nothing was sent, for a reason of our own (the database, the keys): it costs no attempt, and says nothing of the
    /// receiver.
    NotAttempted { code: &'static str },
}

impl Outcome {
    /// What the answers say that both kinds of receivers give: 2xx is a success, everything else may work later.
    pub fn of(answer: Result<StatusCode, Failure>) -> Self {
        match answer {
            Ok(status) if status.is_success() => Self::Delivered {
                status_code: status.as_u16(),
            },
            Ok(status) if status.is_redirection() => Self::Retry {
                code: "redirect_not_followed",
                status_code: Some(status.as_u16()),
            },
            Ok(status) => Self::Retry {
                code: "refused_by_receiver",
                status_code: Some(status.as_u16()),
            },
            Err(failure) => Self::Retry {
                code: failure.code(),
                status_code: None,
            },
        }
    }

    /// Of the HTTP answer, if there was one.
    pub fn status_code(self) -> Option<u16> {
        match self {
            Self::Delivered { status_code } => Some(status_code),
            Self::Permanent { status_code, .. } | Self::Retry { status_code, .. } => status_code,
            Self::NotAttempted { .. } => None,
        }
    }

    /// The fixed word for what went wrong.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Self::Delivered { .. } => None,
            Self::Permanent { code, .. } | Self::Retry { code, .. } | Self::NotAttempted { code } => {
                Some(code)
            }
        }
    }
}
