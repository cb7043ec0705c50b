//! Registered clients: `oauth_clients`.

use sqlx::PgExecutor;
use time::OffsetDateTime;

use crate::db::Transaction;
use crate::protocol::algorithm::SigningAlgorithm;
use crate::protocol::client::{Client, ClientSecret, ClientType, GrantType, TokenEndpointAuthMethod};
use crate::protocol::ids::ClientId;
use crate::protocol::opaque::TokenHash;
use crate::protocol::scope::ScopeSet;

/// A row of `oauth_clients`.
struct ClientRow {
    client_id: ClientId,
    name: String,
    client_type: String,
    secret_hash: Option<TokenHash>,
    previous_secret_hash: Option<TokenHash>,
    previous_secret_expires_at: Option<OffsetDateTime>,
    redirect_uris: Vec<String>,
    post_logout_redirect_uris: Vec<String>,
    backchannel_logout_uri: Option<String>,
    backchannel_logout_session_required: bool,
    scope: ScopeSet,
    grant_types: Vec<String>,
    auto_approve: bool,
    require_pkce: bool,
    token_endpoint_auth_method: Option<String>,
    id_token_signed_response_alg: Option<String>,
    claims_in_id_token: bool,
    audience: Option<String>,
    request_object_jwks: Option<serde_json::Value>,
    refresh_reuse_leeway_secs: Option<i32>,
    disabled: bool,
    generation: i64,
}

impl TryFrom<ClientRow> for Client {
    type Error = sqlx::Error;

    fn try_from(row: ClientRow) -> Result<Self, Self::Error> {
        let unknown = |column: &'static str| sqlx::Error::ColumnDecode {
            index: column.to_owned(),
            source: "a value that this version does not know".into(),
        };
        let current = row.secret_hash.map(|hash| ClientSecret {
            hash,
            expires_at: None,
        });
        let previous = row.previous_secret_hash.map(|hash| ClientSecret {
            hash,
            expires_at: Some(
                row.previous_secret_expires_at
                    .unwrap_or(OffsetDateTime::UNIX_EPOCH),
            ),
        });
        Ok(Self {
            client_id: row.client_id,
            name: row.name,
            client_type: ClientType::parse(&row.client_type).ok_or_else(|| unknown("client_type"))?,
            secrets: current.into_iter().chain(previous).collect(),
            redirect_uris: row.redirect_uris,
            post_logout_redirect_uris: row.post_logout_redirect_uris,
            backchannel_logout_uri: row.backchannel_logout_uri,
            backchannel_logout_session_required: row.backchannel_logout_session_required,
            scope: row.scope,
            grant_types: row
                .grant_types
                .iter()
                .filter_map(|name| GrantType::parse(name))
                .collect(),
            auto_approve: row.auto_approve,
            require_pkce: row.require_pkce,
            token_endpoint_auth_method: row
                .token_endpoint_auth_method
                .map(|name| {
                    TokenEndpointAuthMethod::parse(&name).ok_or_else(|| unknown("token_endpoint_auth_method"))
                })
                .transpose()?,
            id_token_signed_response_alg: row
                .id_token_signed_response_alg
                .map(|name| name.parse().map_err(|_| unknown("id_token_signed_response_alg")))
                .transpose()?,
            claims_in_id_token: row.claims_in_id_token,
            audience: row.audience,
            request_object_jwks: row.request_object_jwks,
            refresh_reuse_leeway_secs: row
                .refresh_reuse_leeway_secs
                .map(|secs| u32::try_from(secs).unwrap_or(0)),
            disabled: row.disabled,
            generation: row.generation,
        })
    }
}

/// The client of this id, disabled ones included.
pub async fn find(db: impl PgExecutor<'_>, client_id: &ClientId) -> sqlx::Result<Option<Client>> {
    sqlx::query_as!(
        ClientRow,
        r#"
        SELECT client_id AS "client_id: _", name, client_type,
               secret_hash AS "secret_hash: _", previous_secret_hash AS "previous_secret_hash: _",
               previous_secret_expires_at, redirect_uris, post_logout_redirect_uris, backchannel_logout_uri,
               backchannel_logout_session_required, scope AS "scope: _", grant_types, auto_approve, require_pkce,
               token_endpoint_auth_method, id_token_signed_response_alg, claims_in_id_token, audience,
               request_object_jwks, refresh_reuse_leeway_secs, disabled_at IS NOT NULL AS "disabled!", generation
        FROM oauth_clients
        WHERE client_id = $1
        "#,
        client_id.as_str(),
    )
    .fetch_optional(db)
    .await?
    .map(Client::try_from)
    .transpose()
}

/// Every client, in the order of their names.
pub async fn list(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Client>> {
    sqlx::query_as!(
        ClientRow,
        r#"
        SELECT client_id AS "client_id: _", name, client_type,
               secret_hash AS "secret_hash: _", previous_secret_hash AS "previous_secret_hash: _",
               previous_secret_expires_at, redirect_uris, post_logout_redirect_uris, backchannel_logout_uri,
               backchannel_logout_session_required, scope AS "scope: _", grant_types, auto_approve, require_pkce,
               token_endpoint_auth_method, id_token_signed_response_alg, claims_in_id_token, audience,
               request_object_jwks, refresh_reuse_leeway_secs, disabled_at IS NOT NULL AS "disabled!", generation
        FROM oauth_clients
        ORDER BY name, client_id
        "#,
    )
    .fetch_all(db)
    .await?
    .into_iter()
    .map(Client::try_from)
    .collect()
}

/// A page of the clients, in the order of their names. `after`: name and id of the last one of the page before.
pub async fn page(
    db: impl PgExecutor<'_>,
    after: Option<(&str, &ClientId)>,
    limit: i64,
) -> sqlx::Result<Vec<Client>> {
    sqlx::query_as!(
        ClientRow,
        r#"
        SELECT client_id AS "client_id: _", name, client_type,
               secret_hash AS "secret_hash: _", previous_secret_hash AS "previous_secret_hash: _",
               previous_secret_expires_at, redirect_uris, post_logout_redirect_uris, backchannel_logout_uri,
               backchannel_logout_session_required, scope AS "scope: _", grant_types, auto_approve, require_pkce,
               token_endpoint_auth_method, id_token_signed_response_alg, claims_in_id_token, audience,
               request_object_jwks, refresh_reuse_leeway_secs, disabled_at IS NOT NULL AS "disabled!", generation
        FROM oauth_clients
        WHERE $1::text IS NULL OR (name COLLATE "C", client_id) > ($1, $2)
        ORDER BY name COLLATE "C", client_id
        LIMIT $3
        "#,
        after.map(|(name, _)| name),
        after.map(|(_, client_id)| client_id.as_str()),
        limit,
    )
    .fetch_all(db)
    .await?
    .into_iter()
    .map(Client::try_from)
    .collect()
}

/// The client of this id, its row locked until `tx` ends.
pub async fn lock(tx: &mut Transaction, client_id: &ClientId) -> sqlx::Result<Option<Client>> {
    sqlx::query_as!(
        ClientRow,
        r#"
        SELECT client_id AS "client_id: _", name, client_type,
               secret_hash AS "secret_hash: _", previous_secret_hash AS "previous_secret_hash: _",
               previous_secret_expires_at, redirect_uris, post_logout_redirect_uris, backchannel_logout_uri,
               backchannel_logout_session_required, scope AS "scope: _", grant_types, auto_approve, require_pkce,
               token_endpoint_auth_method, id_token_signed_response_alg, claims_in_id_token, audience,
               request_object_jwks, refresh_reuse_leeway_secs, disabled_at IS NOT NULL AS "disabled!", generation
        FROM oauth_clients
        WHERE client_id = $1
        FOR NO KEY UPDATE
        "#,
        client_id.as_str(),
    )
    .fetch_optional(&mut **tx)
    .await?
    .map(Client::try_from)
    .transpose()
}

/// Writes what may change of a registration: everything but id, type and secrets.
pub async fn update(tx: &mut Transaction, client: &Client, now: OffsetDateTime) -> sqlx::Result<()> {
    let grant_types: Vec<String> = client
        .grant_types
        .iter()
        .map(|grant| grant.as_str().to_owned())
        .collect();
    sqlx::query!(
        r#"
        UPDATE oauth_clients
        SET name = $2, redirect_uris = $3, post_logout_redirect_uris = $4, backchannel_logout_uri = $5,
            backchannel_logout_session_required = $6, scope = $7, grant_types = $8, auto_approve = $9,
            require_pkce = $10, token_endpoint_auth_method = $11, id_token_signed_response_alg = $12,
            claims_in_id_token = $13, audience = $14, request_object_jwks = $15, refresh_reuse_leeway_secs = $16,
            disabled_at = CASE WHEN $17 THEN coalesce(disabled_at, $18) END,
            updated_at = $18
        WHERE client_id = $1
        "#,
        client.client_id.as_str(),
        client.name,
        &client.redirect_uris,
        &client.post_logout_redirect_uris,
        client.backchannel_logout_uri,
        client.backchannel_logout_session_required,
        client.scope.to_string(),
        &grant_types,
        client.auto_approve,
        client.require_pkce,
        client.token_endpoint_auth_method.map(TokenEndpointAuthMethod::as_str),
        client.id_token_signed_response_alg.map(SigningAlgorithm::as_str),
        client.claims_in_id_token,
        client.audience,
        client.request_object_jwks,
        client.refresh_reuse_leeway_secs.map(|secs| i32::try_from(secs).unwrap_or(i32::MAX)),
        client.disabled,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Registers a client. Of its secrets, the first is stored as the current one.
pub async fn insert(db: impl PgExecutor<'_>, client: &Client, now: OffsetDateTime) -> sqlx::Result<()> {
    let grant_types: Vec<String> = client
        .grant_types
        .iter()
        .map(|grant| grant.as_str().to_owned())
        .collect();
    sqlx::query!(
        r#"
        INSERT INTO oauth_clients
            (client_id, name, client_type, secret_hash, redirect_uris, post_logout_redirect_uris,
             backchannel_logout_uri, backchannel_logout_session_required, scope, grant_types, auto_approve,
             require_pkce, token_endpoint_auth_method, id_token_signed_response_alg, claims_in_id_token, audience,
             request_object_jwks, refresh_reuse_leeway_secs, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $19)
        "#,
        client.client_id.as_str(),
        client.name,
        client.client_type.as_str(),
        client.secrets.first().map(|secret| secret.hash) as Option<TokenHash>,
        &client.redirect_uris,
        &client.post_logout_redirect_uris,
        client.backchannel_logout_uri,
        client.backchannel_logout_session_required,
        client.scope.to_string(),
        &grant_types,
        client.auto_approve,
        client.require_pkce,
        client.token_endpoint_auth_method.map(TokenEndpointAuthMethod::as_str),
        client.id_token_signed_response_alg.map(SigningAlgorithm::as_str),
        client.claims_in_id_token,
        client.audience,
        client.request_object_jwks,
        client.refresh_reuse_leeway_secs.map(|secs| i32::try_from(secs).unwrap_or(i32::MAX)),
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Gives the client a new secret; the current one stays good until `previous_expires_at`. `false`: no such confidential client.
pub async fn rotate_secret(
    db: impl PgExecutor<'_>,
    client_id: &ClientId,
    secret_hash: &TokenHash,
    previous_expires_at: OffsetDateTime,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        r#"
        UPDATE oauth_clients
        SET previous_secret_hash = secret_hash,
            previous_secret_expires_at = $3,
            secret_hash = $2,
            updated_at = $4
        WHERE client_id = $1 AND client_type = 'confidential'
        "#,
        client_id.as_str(),
        secret_hash as _,
        previous_expires_at,
        now,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Removes a client and, by the foreign keys, its codes, grants, tokens and consents. `false`: no such client.
pub async fn delete(db: impl PgExecutor<'_>, client_id: &ClientId) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "DELETE FROM oauth_clients WHERE client_id = $1",
        client_id.as_str()
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}
