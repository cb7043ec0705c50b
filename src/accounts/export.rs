//! Everything that is held of a person, as one document.
//!
//! | member | what |
//! | --- | --- |
//! | `version`, `exported_at` | of this document's form, and when it was made |
//! | `account` | the account itself |
//! | `held_usernames` | a name that the person gave up and that is held for them |
//! | `links` | an identity at a provider that leads to the account |
//! | `sessions` | a session in a browser, ended ones as long as they are kept |
//! | `session_renewals` | a renewal of a session's cookie. The values themselves are kept by nobody |
//! | `consents` | what an app was let have |
//! | `authorization_codes` | a sign-in to an app, up to the code that it was answered with |
//! | `grants` | what an app was given at a sign-in |
//! | `refresh_tokens` | a renewal of what an app was given. The tokens themselves are kept by nobody but the app |
//! | `events` | something that happened and that apps or the operator could hear of |
//! | `logout_notices` | an app that was told of the end of a session, or is going to be |
//! | `audit_entries` | an entry of the audit trail that the person made or that is about them. What it says of anybody else is left out |
//!
//! Each list is cut off at [`MAX_ROWS`], newest first; `truncated` names those that were.

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::db::Transaction;
use crate::db::export as tables;
use crate::db::export::{
    ExportedAccount, ExportedAuditEntry, ExportedAuthorizationCode, ExportedConsent, ExportedEvent,
    ExportedGrant, ExportedHeldUsername, ExportedLink, ExportedLogoutNotice, ExportedRefreshToken,
    ExportedSession, ExportedSessionRenewal,
};
use crate::protocol::ids::UserId;

/// The form of the document; a member that changes its meaning or goes makes another.
pub const VERSION: u32 = 1;

/// Rows of each list: a document of a bounded size, far above what is kept of anybody in practice.
pub const MAX_ROWS: usize = 10_000;

/// Everything that is held of a person.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Export {
    pub version: u32,
    #[serde(with = "time::serde::rfc3339")]
    pub exported_at: OffsetDateTime,
    pub account: ExportedAccount,
    pub held_usernames: Vec<ExportedHeldUsername>,
    pub links: Vec<ExportedLink>,
    pub sessions: Vec<ExportedSession>,
    pub session_renewals: Vec<ExportedSessionRenewal>,
    pub consents: Vec<ExportedConsent>,
    pub authorization_codes: Vec<ExportedAuthorizationCode>,
    pub grants: Vec<ExportedGrant>,
    pub refresh_tokens: Vec<ExportedRefreshToken>,
    pub events: Vec<ExportedEvent>,
    pub logout_notices: Vec<ExportedLogoutNotice>,
    pub audit_entries: Vec<ExportedAuditEntry>,
    /// The lists of which only the newest rows are here.
    pub truncated: Vec<String>,
}

/// Collects it. `tx` has to be fresh: everything is read from one picture of the database. `None`: there is no such account.
pub async fn export(
    tx: &mut Transaction,
    user_id: UserId,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Export>> {
    tables::freeze(tx).await?;
    let Some(account) = tables::account(tx, user_id).await? else {
        return Ok(None);
    };
    let limit = i64::try_from(MAX_ROWS).unwrap_or(i64::MAX - 1) + 1;
    let mut truncated = Vec::new();
    let mut cut = |name: &str, rows: usize| {
        if rows > MAX_ROWS {
            truncated.push(name.to_owned());
        }
    };
    let mut held_usernames = tables::held_usernames(tx, user_id, limit).await?;
    cut("held_usernames", held_usernames.len());
    held_usernames.truncate(MAX_ROWS);
    let mut links = tables::links(tx, user_id, limit).await?;
    cut("links", links.len());
    links.truncate(MAX_ROWS);
    let mut sessions = tables::sessions(tx, user_id, limit).await?;
    cut("sessions", sessions.len());
    sessions.truncate(MAX_ROWS);
    let mut session_renewals = tables::session_renewals(tx, user_id, limit).await?;
    cut("session_renewals", session_renewals.len());
    session_renewals.truncate(MAX_ROWS);
    let mut consents = tables::consents(tx, user_id, limit).await?;
    cut("consents", consents.len());
    consents.truncate(MAX_ROWS);
    let mut authorization_codes = tables::authorization_codes(tx, user_id, limit).await?;
    cut("authorization_codes", authorization_codes.len());
    authorization_codes.truncate(MAX_ROWS);
    let mut grants = tables::grants(tx, user_id, limit).await?;
    cut("grants", grants.len());
    grants.truncate(MAX_ROWS);
    let mut refresh_tokens = tables::refresh_tokens(tx, user_id, limit).await?;
    cut("refresh_tokens", refresh_tokens.len());
    refresh_tokens.truncate(MAX_ROWS);
    let mut events = tables::events(tx, user_id, limit).await?;
    cut("events", events.len());
    events.truncate(MAX_ROWS);
    let mut logout_notices = tables::logout_notices(tx, user_id, limit).await?;
    cut("logout_notices", logout_notices.len());
    logout_notices.truncate(MAX_ROWS);
    let mut audit_entries = tables::audit_entries(tx, user_id, limit).await?;
    cut("audit_entries", audit_entries.len());
    audit_entries.truncate(MAX_ROWS);
    Ok(Some(Export {
        version: VERSION,
        exported_at: now,
        account,
        held_usernames,
        links,
        sessions,
        session_renewals,
        consents,
        authorization_codes,
        grants,
        refresh_tokens,
        events,
        logout_notices,
        audit_entries,
        truncated,
    }))
}
