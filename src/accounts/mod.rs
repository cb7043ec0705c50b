//! What happens to accounts and sessions, where more than one caller makes it happen: endpoints, admins, the command line.
//!
//! Each operation belongs inside a transaction of its caller and writes there what it announces (events, logout notices), so
//! that nobody hears of what did not happen, and nothing happens unheard.
//!
//! | file | operations |
//! | --- | --- |
//! | [`newcomers`] | an account with its first link; another link |
//! | [`sessions`] | ending sessions, and telling the apps of them |

pub mod newcomers;
pub mod sessions;

pub use newcomers::{NewAccount, NotCreated, create, describe, link, passed_on};
pub use sessions::{EndReason, end_session, end_sessions_of_user};
