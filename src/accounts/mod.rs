//! What happens to accounts and sessions, where more than one caller makes it happen: endpoints, admins, the command line.
//!
//! Each operation belongs inside a transaction of its caller and writes there what it announces (events, logout notices), so
//! that nobody hears of what did not happen, and nothing happens unheard.
//!
//! | file | operations |
//! | --- | --- |
//! | [`administration`] | role, disabling, revoking: what administrators and operators do |
//! | [`consents`] | what an app was let have, taken back |
//! | [`delete`](mod@delete) | the end of an account, with everything held of its owner |
//! | [`export`](mod@export) | everything that is held of a person |
//! | [`names`] | which usernames can be had |
//! | [`newcomers`] | an account with its first link; another link |
//! | [`profile`] | what an account shows, chosen by its owner or brought along by a login |
//! | [`rename`](mod@rename) | another name |
//! | [`links`] | another identity, or one less |
//! | [`merging`] | an identity that joins an account by its address, and the way back |
//! | [`reservations`] | names that nobody may take |
//! | [`sessions`] | ending sessions, and telling the apps of them |

pub mod administration;
pub mod consents;
pub mod delete;
pub mod export;
pub mod links;
pub mod merging;
pub mod names;
pub mod newcomers;
pub mod profile;
pub mod rename;
pub mod reservations;
pub mod sessions;

pub use consents::withdraw_consent;
pub use delete::{Deletion, NotDeleted, delete};
pub use export::{Export, export};
pub use links::{FORMER, NotUnlinked, Unlinking, add_link, told_of, unlink};
pub use merging::{NotUnmerged, Unmerged, Unmerging, merge, merged, names_of_its_own, unmerge};
pub use newcomers::{NewAccount, NotCreated, create, describe, link, passed_on};
pub use profile::{NotChanged, ProfileChange, change_profile, refresh_profile};
pub use rename::{NotRenamed, rename};
pub use sessions::{EndReason, end_own_session, end_session, end_sessions_of_upstream, end_sessions_of_user};
