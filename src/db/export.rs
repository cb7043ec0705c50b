//! Everything that is held of a person, row by row, as they are given it. Hashes of credentials, sealed data and what is
//! derived from other columns stay out; which columns those are, and why, is written down beside the test that walks the
//! catalogue.
//!
//! Lists come newest first, `limit` rows at most. To be called in one transaction that sees one picture.

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::db::Transaction;
use crate::protocol::ids::{ClientId, GrantId, LinkId, SessionId, UserId};

/// One picture of all tables until `tx` ends. Its first statement.
pub async fn freeze(tx: &mut Transaction) -> sqlx::Result<()> {
    sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The account itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExportedAccount {
    /// The `sub` that apps know.
    pub user_id: UserId,
    pub username: String,
    pub display_name: Option<String>,
    pub picture: Option<String>,
    pub role: String,
    /// The link whose address the owner chose.
    pub primary_link_id: Option<LinkId>,
    /// What the upstream stated and apps may be told.
    pub upstream_claims: Value,
    /// The link by which the display name came; none: the owner chose it.
    pub display_name_link_id: Option<LinkId>,
    /// The link by which the picture came.
    pub picture_link_id: Option<LinkId>,
    /// The link by which the upstream's claims came.
    pub claims_link_id: Option<LinkId>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub username_changed_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub disabled_at: Option<OffsetDateTime>,
}

/// A name that the person gave up and that is held for them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExportedHeldUsername {
    /// Without case.
    pub username_folded: String,
    #[serde(with = "time::serde::rfc3339")]
    pub held_until: OffsetDateTime,
}

/// An identity at a provider that leads to the account.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExportedLink {
    pub link_id: LinkId,
    /// Its name in the configuration.
    pub provider: String,
    pub issuer: String,
    /// The person's id there.
    pub subject: String,
    pub display: Option<String>,
    pub email: Option<String>,
    /// As the provider said.
    pub email_verified: bool,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub last_login_at: OffsetDateTime,
    /// When it joined the account by its address, and not by its owner's confirmation.
    #[serde(with = "time::serde::rfc3339::option")]
    pub merged_at: Option<OffsetDateTime>,
    /// The identity that it came by: the one its owner was signed in by, or whose address it has.
    pub added_by_link_id: Option<LinkId>,
}

/// A session in a browser, ended ones as long as they are kept.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExportedSession {
    pub session_id: SessionId,
    pub link_id: Option<LinkId>,
    /// The identities that signed in to it before.
    pub earlier_link_ids: Vec<LinkId>,
    pub provider: String,
    /// The provider's own name for it.
    pub upstream_sid: Option<String>,
    /// The last sign-in in it, seconds since the epoch.
    pub auth_time: i64,
    pub acr: Option<String>,
    pub amr: Option<Vec<String>>,
    pub user_agent: Option<String>,
    pub ip_address: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub last_used_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub absolute_expires_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    pub ended_reason: Option<String>,
}

/// A renewal of a session's cookie. The values themselves are kept by nobody.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExportedSessionRenewal {
    pub session_id: SessionId,
    #[serde(with = "time::serde::rfc3339")]
    pub issued_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub consumed_at: Option<OffsetDateTime>,
}

/// What an app was let have.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExportedConsent {
    pub client_id: ClientId,
    pub client_name: String,
    /// Separated by spaces.
    pub scope: String,
    #[serde(with = "time::serde::rfc3339")]
    pub granted_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// A sign-in to an app, up to the code that it was answered with.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExportedAuthorizationCode {
    pub client_id: ClientId,
    pub session_id: SessionId,
    /// What became of it, if the app came for it.
    pub grant_id: GrantId,
    /// Where the browser was sent.
    pub redirect_uri: String,
    pub scope: String,
    /// Seconds since the epoch.
    pub auth_time: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub issued_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub used_at: Option<OffsetDateTime>,
}

/// What an app was given at a sign-in.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExportedGrant {
    pub grant_id: GrantId,
    pub client_id: ClientId,
    pub session_id: Option<SessionId>,
    pub scope: String,
    /// It outlives the session.
    pub offline: bool,
    pub nonce: Option<String>,
    pub acr: Option<String>,
    pub amr: Option<Vec<String>>,
    /// What the app asked for by the `claims` parameter.
    pub claims: Option<Value>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
    pub revoked_reason: Option<String>,
}

/// A renewal of what an app was given. The tokens themselves are kept by nobody but the app.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExportedRefreshToken {
    pub grant_id: GrantId,
    /// Seconds since the epoch.
    pub auth_time: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub issued_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub absolute_expires_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub consumed_at: Option<OffsetDateTime>,
}

/// Something that happened and that apps or the operator could hear of.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExportedEvent {
    pub event_id: Uuid,
    pub event_type: String,
    pub client_id: Option<String>,
    pub data: Value,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// An app that was told of the end of a session, or is going to be.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExportedLogoutNotice {
    pub client_id: Option<String>,
    pub session_id: Option<SessionId>,
    pub status: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub completed_at: Option<OffsetDateTime>,
}

/// An entry of the audit trail that the person made or that is about them. What it says of anybody else is left out.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExportedAuditEntry {
    pub sequence: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    pub action: String,
    pub by_this_person: bool,
    pub on_this_person: bool,
    /// JSON: where they did it from.
    pub actor_personal: Option<String>,
    /// JSON: what they were called then.
    pub target_personal: Option<String>,
    /// JSON: what changed.
    pub details: String,
}

/// [`ExportedAccount`].
pub async fn account(tx: &mut Transaction, user_id: UserId) -> sqlx::Result<Option<ExportedAccount>> {
    sqlx::query_as!(
        ExportedAccount,
        r#"
        SELECT user_id AS "user_id: _", username AS "username!", display_name, picture, role,
               primary_link_id AS "primary_link_id: _", upstream_claims,
               display_name_link_id AS "display_name_link_id: _", picture_link_id AS "picture_link_id: _",
               claims_link_id AS "claims_link_id: _", username_changed_at, created_at, updated_at, disabled_at
        FROM users
        WHERE user_id = $1 AND deleted_at IS NULL
        "#,
        user_id as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// [`ExportedHeldUsername`].
pub async fn held_usernames(
    tx: &mut Transaction,
    user_id: UserId,
    limit: i64,
) -> sqlx::Result<Vec<ExportedHeldUsername>> {
    sqlx::query_as!(
        ExportedHeldUsername,
        r#"
        SELECT username_folded, held_until
        FROM held_usernames
        WHERE user_id = $1
        ORDER BY held_until DESC, username_folded
        LIMIT $2
        "#,
        user_id as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}

/// [`ExportedLink`].
pub async fn links(tx: &mut Transaction, user_id: UserId, limit: i64) -> sqlx::Result<Vec<ExportedLink>> {
    sqlx::query_as!(
        ExportedLink,
        r#"
        SELECT link_id AS "link_id: _", provider, issuer, subject, display, email, email_verified,
               created_at, last_login_at, merged_at, added_by_link_id AS "added_by_link_id: _"
        FROM oauth_links
        WHERE user_id = $1
        ORDER BY created_at DESC, link_id
        LIMIT $2
        "#,
        user_id as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}

/// [`ExportedSession`].
pub async fn sessions(
    tx: &mut Transaction,
    user_id: UserId,
    limit: i64,
) -> sqlx::Result<Vec<ExportedSession>> {
    sqlx::query_as!(
        ExportedSession,
        r#"
        SELECT session_id AS "session_id: _", link_id AS "link_id: _",
               earlier_link_ids AS "earlier_link_ids: _", provider, upstream_sid, auth_time, acr, amr, user_agent, ip_address, created_at, last_used_at, expires_at, absolute_expires_at,
               ended_at, ended_reason
        FROM sessions
        WHERE user_id = $1
        ORDER BY last_used_at DESC, session_id
        LIMIT $2
        "#,
        user_id as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}

/// [`ExportedSessionRenewal`].
pub async fn session_renewals(
    tx: &mut Transaction,
    user_id: UserId,
    limit: i64,
) -> sqlx::Result<Vec<ExportedSessionRenewal>> {
    sqlx::query_as!(
        ExportedSessionRenewal,
        r#"
        SELECT t.session_id AS "session_id: _", t.issued_at, t.consumed_at
        FROM session_tokens t
        JOIN sessions s ON s.session_id = t.session_id
        WHERE s.user_id = $1
        ORDER BY t.issued_at DESC, t.token_hash
        LIMIT $2
        "#,
        user_id as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}

/// [`ExportedConsent`].
pub async fn consents(
    tx: &mut Transaction,
    user_id: UserId,
    limit: i64,
) -> sqlx::Result<Vec<ExportedConsent>> {
    sqlx::query_as!(
        ExportedConsent,
        r#"
        SELECT c.client_id AS "client_id: _", o.name AS client_name, c.scope, c.granted_at, c.updated_at
        FROM consents c
        JOIN oauth_clients o ON o.client_id = c.client_id
        WHERE c.user_id = $1
        ORDER BY c.granted_at DESC, c.client_id
        LIMIT $2
        "#,
        user_id as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}

/// [`ExportedAuthorizationCode`].
pub async fn authorization_codes(
    tx: &mut Transaction,
    user_id: UserId,
    limit: i64,
) -> sqlx::Result<Vec<ExportedAuthorizationCode>> {
    sqlx::query_as!(
        ExportedAuthorizationCode,
        r#"
        SELECT client_id AS "client_id: _", session_id AS "session_id: _", grant_id AS "grant_id: _",
               redirect_uri, scope, auth_time, issued_at, expires_at, used_at
        FROM authorization_codes
        WHERE user_id = $1
        ORDER BY issued_at DESC, code_hash
        LIMIT $2
        "#,
        user_id as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}

/// [`ExportedGrant`].
pub async fn grants(tx: &mut Transaction, user_id: UserId, limit: i64) -> sqlx::Result<Vec<ExportedGrant>> {
    sqlx::query_as!(
        ExportedGrant,
        r#"
        SELECT grant_id AS "grant_id: _", client_id AS "client_id: _", session_id AS "session_id: _", scope,
               offline, nonce, acr, amr, claims, created_at, revoked_at, revoked_reason
        FROM grants
        WHERE user_id = $1
        ORDER BY created_at DESC, grant_id
        LIMIT $2
        "#,
        user_id as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}

/// [`ExportedRefreshToken`].
pub async fn refresh_tokens(
    tx: &mut Transaction,
    user_id: UserId,
    limit: i64,
) -> sqlx::Result<Vec<ExportedRefreshToken>> {
    sqlx::query_as!(
        ExportedRefreshToken,
        r#"
        SELECT t.grant_id AS "grant_id: _", t.auth_time, t.issued_at, t.expires_at, t.absolute_expires_at,
               t.consumed_at
        FROM refresh_tokens t
        JOIN grants g ON g.grant_id = t.grant_id
        WHERE g.user_id = $1
        ORDER BY t.issued_at DESC, t.token_hash
        LIMIT $2
        "#,
        user_id as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}

/// [`ExportedEvent`].
pub async fn events(tx: &mut Transaction, user_id: UserId, limit: i64) -> sqlx::Result<Vec<ExportedEvent>> {
    sqlx::query_as!(
        ExportedEvent,
        r#"
        SELECT event_id, event_type, client_id, data - 'new_user_id' AS "data!", created_at
        FROM events
        WHERE user_id = $1
        ORDER BY created_at DESC, event_id
        LIMIT $2
        "#,
        user_id as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}

/// [`ExportedLogoutNotice`].
pub async fn logout_notices(
    tx: &mut Transaction,
    user_id: UserId,
    limit: i64,
) -> sqlx::Result<Vec<ExportedLogoutNotice>> {
    sqlx::query_as!(
        ExportedLogoutNotice,
        r#"
        SELECT client_id, session_id AS "session_id: _", status, created_at, completed_at
        FROM deliveries
        WHERE user_id = $1
        ORDER BY created_at DESC, delivery_id
        LIMIT $2
        "#,
        user_id as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}

/// [`ExportedAuditEntry`].
pub async fn audit_entries(
    tx: &mut Transaction,
    user_id: UserId,
    limit: i64,
) -> sqlx::Result<Vec<ExportedAuditEntry>> {
    sqlx::query_as!(
        ExportedAuditEntry,
        r#"
        SELECT sequence, created_at, action, actor_user_id IS NOT DISTINCT FROM $1 AS "by_this_person!",
               target_user_id IS NOT DISTINCT FROM $1 AS "on_this_person!",
               CASE WHEN actor_user_id = $1 THEN actor_personal END AS actor_personal,
               CASE WHEN target_user_id = $1 THEN target_personal END AS target_personal,
               CASE WHEN details::jsonb ? 'new_user_id' THEN (details::jsonb - 'new_user_id')::text ELSE details END
                   AS "details!"
        FROM audit_entries
        WHERE actor_user_id = $1 OR target_user_id = $1
        ORDER BY sequence DESC
        LIMIT $2
        "#,
        user_id as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}
