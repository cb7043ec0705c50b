//! Who people are at upstream providers: `oauth_links`. The identity is (issuer, subject), never an address.

use sqlx::PgExecutor;
use time::OffsetDateTime;

use crate::db::Transaction;
use crate::protocol::ids::{LinkId, UserId};

/// The constraint that two accounts meet at when both want one identity.
pub const IDENTITY_LINKED: &str = "oauth_links_identity_unique";
/// The constraint that keeps a second identity of one provider from an account.
pub const PROVIDER_LINKED: &str = "oauth_links_one_per_provider";

/// An identity to be linked.
pub struct NewLink<'a> {
    pub link_id: LinkId,
    pub user_id: UserId,
    pub provider: &'a str,
    pub issuer: &'a str,
    pub subject: &'a str,
    /// The link of the same account that it came by; `None` for the first one.
    pub added_by: Option<LinkId>,
    pub description: LinkDescription<'a>,
}

/// What the upstream says beside the identity; refreshed at every login.
#[derive(Clone, Copy)]
pub struct LinkDescription<'a> {
    pub display: Option<&'a str>,
    pub email: Option<&'a str>,
    /// ASCII addresses only; what merging compares.
    pub email_folded: Option<&'a str>,
    pub email_verified: bool,
}

/// Whose identity it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkedUser {
    pub link_id: LinkId,
    pub user_id: UserId,
    pub disabled: bool,
}

/// An account that some provider says a verified address belongs to.
#[derive(Clone, Debug)]
pub struct VerifiedLink {
    pub link_id: LinkId,
    pub user_id: UserId,
    pub provider: String,
    pub issuer: String,
    /// The account is neither disabled nor deleted.
    pub live: bool,
    /// The account has an identity at the newcomer's provider already.
    pub has_provider: bool,
}

/// The account that this identity belongs to. Its row stays locked until `tx` ends, so that a login and whatever ends the
/// account's sessions come one after the other.
pub async fn lock_user_of(
    tx: &mut Transaction,
    issuer: &str,
    subject: &str,
) -> sqlx::Result<Option<LinkedUser>> {
    loop {
        let found = sqlx::query_as!(
            LinkedUser,
            r#"
            SELECT l.link_id AS "link_id: _", l.user_id AS "user_id: _", u.disabled_at IS NOT NULL AS "disabled!"
            FROM oauth_links l
            JOIN users u ON u.user_id = l.user_id
            WHERE l.issuer = $1
              AND l.subject = $2
              AND u.deleted_at IS NULL
            FOR NO KEY UPDATE OF u
            "#,
            issuer,
            subject,
        )
        .fetch_optional(&mut **tx)
        .await?;
        let Some(linked) = found else { return Ok(None) };
        // Whoever had the account's lock before may have taken the link away: the statement above still saw it there.
        let still = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM oauth_links WHERE link_id = $1 AND user_id = $2) AS "is!""#,
            linked.link_id as _,
            linked.user_id as _,
        )
        .fetch_one(&mut **tx)
        .await?;
        if still {
            return Ok(Some(linked));
        }
    }
}

/// A link as its owner and operators see it.
#[derive(Clone, Debug)]
pub struct Link {
    pub link_id: LinkId,
    pub user_id: UserId,
    /// The provider's name in the configuration, at the last login; or that with `~former` and perhaps a number behind it, once
    /// the name leads to another issuer that is linked, too. A login gives the name back when no other link of the account has it.
    pub provider: String,
    /// Whose word the identity is: a name in the configuration can be pointed at another issuer.
    pub issuer: String,
    /// The person's id there.
    pub subject: String,
    /// How the provider names this identity.
    pub display: Option<String>,
    pub email: Option<String>,
    /// As the provider said; how far it is believed is configuration.
    pub email_verified: bool,
    /// Its address is the account's primary one: the one that the owner chose, else the oldest verified link's, else the
    /// oldest's.
    pub is_primary: bool,
    /// When it came to this account by a merge; `None` for one that its owner made or confirmed.
    pub merged_at: Option<OffsetDateTime>,
    /// The link that it came by; `None` for an account's first one, and for those of before this was kept.
    pub added_by: Option<LinkId>,
    pub created_at: OffsetDateTime,
    pub last_login_at: OffsetDateTime,
}

/// The links of an account, oldest first.
pub async fn list_of_user(db: impl PgExecutor<'_>, user_id: UserId) -> sqlx::Result<Vec<Link>> {
    sqlx::query_as!(
        Link,
        r#"
        SELECT l.link_id AS "link_id: _", l.user_id AS "user_id: _", l.provider, l.issuer, l.subject,
               l.display, l.email, l.email_verified,
               l.email IS NOT NULL AND l.link_id = first_value(l.link_id) OVER (
                   ORDER BY l.email IS NULL, l.link_id IS NOT DISTINCT FROM u.primary_link_id DESC,
                            l.email_verified DESC, l.created_at, l.link_id
               ) AS "is_primary!",
               l.merged_at, l.added_by_link_id AS "added_by: _", l.created_at, l.last_login_at
        FROM oauth_links l
        JOIN users u ON u.user_id = l.user_id
        WHERE l.user_id = $1
        ORDER BY l.created_at, l.link_id
        "#,
        user_id as _,
    )
    .fetch_all(db)
    .await
}

/// The account that this identity belongs to, without a lock.
pub async fn find_owner(
    db: impl PgExecutor<'_>,
    issuer: &str,
    subject: &str,
) -> sqlx::Result<Option<UserId>> {
    sqlx::query_scalar!(
        r#"SELECT user_id AS "user_id: _" FROM oauth_links WHERE issuer = $1 AND subject = $2"#,
        issuer,
        subject,
    )
    .fetch_optional(db)
    .await
}

/// The account that this link belongs to, without a lock.
pub async fn find_owner_of_link(db: impl PgExecutor<'_>, link_id: LinkId) -> sqlx::Result<Option<UserId>> {
    sqlx::query_scalar!(
        r#"SELECT user_id AS "user_id: _" FROM oauth_links WHERE link_id = $1"#,
        link_id as _,
    )
    .fetch_optional(db)
    .await
}

/// Says of a link that it came by a merge.
pub async fn mark_merged(db: impl PgExecutor<'_>, link_id: LinkId, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE oauth_links SET merged_at = $2 WHERE link_id = $1",
        link_id as _,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes a link away. A choice of its address as the primary one goes with it, and sessions forget it: end them first.
///
/// What came by it takes its place: it came by what this one came by, and by a merge if this one did. Otherwise whoever was
/// merged in wrongly could add an identity, take the merged one away and be a part of the account for good.
pub async fn delete(tx: &mut Transaction, link_id: LinkId) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        UPDATE oauth_links l
        SET added_by_link_id = gone.added_by_link_id, merged_at = coalesce(l.merged_at, gone.merged_at)
        FROM oauth_links gone
        WHERE gone.link_id = $1
          AND l.added_by_link_id = gone.link_id
        "#,
        link_id as _,
    )
    .execute(&mut **tx)
    .await?;
    // So do the sessions that were signed in to by it, in what is remembered of them: what apps were let have there leaves with
    // what it came by. Links that are gone are not remembered, so that there are no more of them than an account has links.
    sqlx::query!(
        r#"
        UPDATE sessions s
        SET earlier_link_ids = array_remove(s.earlier_link_ids, gone.link_id)
            || CASE WHEN gone.added_by_link_id IS NULL OR gone.added_by_link_id = ANY (s.earlier_link_ids)
                    THEN '{}'::uuid[]
                    ELSE ARRAY[gone.added_by_link_id]
               END
        FROM oauth_links gone
        WHERE gone.link_id = $1
          AND s.user_id = gone.user_id
          AND (s.link_id = gone.link_id OR gone.link_id = ANY (s.earlier_link_ids))
        "#,
        link_id as _,
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!("DELETE FROM oauth_links WHERE link_id = $1", link_id as _)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Gives a link and what came by it to a new account, which has none yet. The old account's choice of one of their
/// addresses ends. `link_ids`: `root` and every link that came by it, at any remove.
pub async fn give_to(
    tx: &mut Transaction,
    root: LinkId,
    link_ids: &[LinkId],
    new_owner: UserId,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        WITH unchosen AS (
            UPDATE users SET primary_link_id = NULL WHERE primary_link_id = ANY ($2)
        )
        UPDATE oauth_links
        SET user_id = $3,
            merged_at = CASE WHEN link_id = $1 THEN NULL ELSE merged_at END,
            added_by_link_id = CASE WHEN link_id = $1 THEN NULL ELSE added_by_link_id END
        WHERE link_id = ANY ($2)
        "#,
        root as _,
        link_ids as _,
        new_owner as _,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// How many links with one address are looked at. Whoever finds one more does not know them all.
pub const MAX_WITH_ONE_ADDRESS: usize = 20;

/// The links with this address, said to be verified by its provider, oldest first; one more than [`MAX_WITH_ONE_ADDRESS`] at
/// most, since two already decide. Links of `first` come before all others.
///
/// `issuers`: patterns of those that may be believed. Anybody can have links with any address where nobody checks it, and
/// those must not stand in the way of the ones that count. How far each is believed is judged by the caller.
pub async fn find_verified_by_email(
    db: impl PgExecutor<'_>,
    email_folded: &str,
    provider: &str,
    issuers: &[String],
    first: Option<UserId>,
) -> sqlx::Result<Vec<VerifiedLink>> {
    sqlx::query_as!(
        VerifiedLink,
        r#"
        SELECT l.link_id AS "link_id: _", l.user_id AS "user_id: _", l.provider, l.issuer,
               u.disabled_at IS NULL AND u.deleted_at IS NULL AS "live!",
               EXISTS (SELECT FROM oauth_links o WHERE o.user_id = l.user_id AND o.provider = $2) AS "has_provider!"
        FROM oauth_links l
        JOIN users u ON u.user_id = l.user_id
        WHERE l.email_folded = $1
          AND l.email_verified
          AND l.issuer LIKE ANY ($3::text[])
        ORDER BY (l.user_id = $4) IS TRUE DESC, l.created_at, l.link_id
        LIMIT $5
        "#,
        email_folded,
        provider,
        issuers,
        first as _,
        i64::try_from(MAX_WITH_ONE_ADDRESS + 1).expect("a small number"),
    )
    .fetch_all(db)
    .await
}

/// Links an identity. Violates [`IDENTITY_LINKED`] or [`PROVIDER_LINKED`] when there is one already.
pub async fn insert(db: impl PgExecutor<'_>, link: &NewLink<'_>, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO oauth_links (link_id, user_id, provider, issuer, subject, display, email, email_folded,
                                 email_verified, added_by_link_id, created_at, last_login_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
        "#,
        link.link_id as _,
        link.user_id as _,
        link.provider,
        link.issuer,
        link.subject,
        link.description.display,
        link.description.email,
        link.description.email_folded,
        link.description.email_verified,
        link.added_by as _,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Gives a link's provider another name.
pub async fn rename_provider(db: impl PgExecutor<'_>, link_id: LinkId, provider: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE oauth_links SET provider = $2 WHERE link_id = $1",
        link_id as _,
        provider,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What a login changed of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkChange {
    /// The address, or what is said of it, is another now.
    pub email_changed: bool,
    /// It was the account's primary address until then.
    pub was_primary: bool,
}

/// Takes over what the upstream says at a login. A provider that was renamed in the configuration is renamed here, unless
/// the account has another identity under that name.
pub async fn mark_login(
    db: impl PgExecutor<'_>,
    link_id: LinkId,
    provider: &str,
    description: LinkDescription<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<LinkChange> {
    let change = sqlx::query_as!(
        LinkChange,
        r#"
        UPDATE oauth_links l
        SET provider = CASE
                WHEN EXISTS (
                    SELECT FROM oauth_links o
                    WHERE o.user_id = l.user_id
                      AND o.provider = $2
                      AND o.link_id <> l.link_id
                ) THEN l.provider
                ELSE $2
            END,
            display = $3, email = $4, email_folded = $5, email_verified = $6, last_login_at = $7
        FROM (
            SELECT b.link_id, b.email, b.email_verified,
                   b.email IS NOT NULL AND b.link_id = first_value(b.link_id) OVER (
                       ORDER BY b.email IS NULL, b.link_id IS NOT DISTINCT FROM u.primary_link_id DESC,
                                b.email_verified DESC, b.created_at, b.link_id
                   ) AS is_primary
            FROM oauth_links b
            JOIN users u ON u.user_id = b.user_id
            WHERE b.user_id = (SELECT user_id FROM oauth_links WHERE link_id = $1)
        ) before
        WHERE l.link_id = $1 AND before.link_id = l.link_id
        RETURNING (before.email, before.email_verified) IS DISTINCT FROM (l.email, l.email_verified) AS "email_changed!",
                  before.is_primary AS "was_primary!"
        "#,
        link_id as _,
        provider,
        description.display,
        description.email,
        description.email_folded,
        description.email_verified,
        now,
    )
    .fetch_optional(db)
    .await?;
    Ok(change.unwrap_or_default())
}

/// An address of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedEmail {
    pub link_id: LinkId,
    pub provider: String,
    pub issuer: String,
    pub email: String,
    /// As the provider said.
    pub email_verified: bool,
    /// The account's primary address: the one its owner chose, else the oldest verified one, else the oldest.
    pub primary: bool,
}

/// The addresses of an account, its primary one first.
pub async fn emails_of(db: impl PgExecutor<'_>, user_id: UserId) -> sqlx::Result<Vec<LinkedEmail>> {
    sqlx::query_as!(
        LinkedEmail,
        r#"
        SELECT l.link_id AS "link_id: _", l.provider, l.issuer, l.email AS "email!", l.email_verified,
               row_number() OVER by_rank = 1 AS "primary!"
        FROM oauth_links l
        JOIN users u ON u.user_id = l.user_id
        WHERE l.user_id = $1
          AND l.email IS NOT NULL
        WINDOW by_rank AS (
            ORDER BY l.link_id IS NOT DISTINCT FROM u.primary_link_id DESC, l.email_verified DESC, l.created_at, l.link_id
        )
        ORDER BY row_number() OVER by_rank
        "#,
        user_id as _,
    )
    .fetch_all(db)
    .await
}
