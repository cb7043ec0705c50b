//! `POST /auth/{provider}/backchannel-logout`: an upstream says that its session has ended (OpenID Connect Back-Channel
//! Logout 1.0 §2.5 to §2.8, here in the part of the relying party).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use time::{Duration, OffsetDateTime};

use crate::accounts;
use crate::db;
use crate::db::retry::retrying;
use crate::error::{AppError, ErrorBody, OAuthError, OAuthErrorCode};
use crate::http::api_doc::LogoutNotice;
use crate::http::no_store::NoStore;
use crate::http::now::Now;
use crate::http::oauth_params::{OAuthForm, ParamsRejection};
use crate::http::segment::Segment;
use crate::http::state::AppState;
use crate::upstream::{LogoutToken, UpstreamError};

/// An older token does not count: until then each `jti` is remembered, and no longer.
const MAX_AGE: Duration = Duration::minutes(10);

/// Ends the sessions that the token speaks of, and has their apps told.
///
/// A token that is wrong in any way, or counted before, is 400 (§2.8). When it cannot be judged, because our database or the
/// provider's keys are out of reach, the answer is 503: the provider may try again.
#[utoipa::path(post, path = "/auth/{provider}/backchannel-logout", tag = "sign-in",
    operation_id = "upstream_backchannel_logout",
    params(("provider" = String, Path, description = "The provider's name in the configuration")),
    request_body(content = LogoutNotice, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The sessions have ended, if there were any"),
        (status = 400, description = "The token is not accepted", body = ErrorBody),
        (status = 404, description = "There is no such provider", body = ErrorBody),
    ))]
pub async fn backchannel_logout(
    State(state): State<AppState>,
    Now(now): Now,
    Segment(provider): Segment,
    form: Result<OAuthForm, ParamsRejection>,
) -> Response {
    match end(&state, &provider, form, now).await {
        Ok(()) => NoStore(StatusCode::OK).into_response(),
        Err(refused) => NoStore(refused).into_response(),
    }
}

async fn end(
    state: &AppState,
    provider_name: &str,
    form: Result<OAuthForm, ParamsRejection>,
    now: OffsetDateTime,
) -> Result<(), Response> {
    let failed = |error: sqlx::Error| OAuthError::from(error).into_response();
    let provider = state
        .upstreams
        .get(provider_name)
        .ok_or_else(|| AppError::not_found().into_response())?;
    let OAuthForm(form) = form.map_err(IntoResponse::into_response)?;
    let token = form
        .get("logout_token")
        .map_err(|refusal| OAuthError::from(refusal).into_response())?
        .ok_or_else(|| OAuthError::invalid_request("logout_token is missing").into_response())?;
    let token = provider
        .verify_logout_token(token, now)
        .await
        .map_err(|error| refuse(provider_name, &error))?;
    let expires_at =
        counts_until(&token, now).ok_or_else(|| not_accepted(provider_name, "logout_token_too_old"))?;

    // How many sessions ended; `None`: the token was used before.
    let ended = retrying(&state.rng, || async {
        let mut tx = state.db.begin().await?;
        if !db::upstream_logout::remember(&mut tx, provider_name, &token.jti, expires_at).await? {
            return Ok(None);
        }
        let ended = accounts::end_sessions_of_upstream(&mut tx, provider_name, &token, now).await?;
        tx.commit().await?;
        Ok::<_, sqlx::Error>(Some(ended))
    });
    let Some(ended) = ended.await.map_err(failed)? else {
        return Err(not_accepted(provider_name, "logout_token_replayed"));
    };
    tracing::info!(
        provider.name = provider_name,
        sessions = ended,
        "an upstream ended {ended} sessions"
    );
    Ok(())
}

/// Until when this token has to be remembered; `None`: it is too old to count.
fn counts_until(token: &LogoutToken, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let issued_at = OffsetDateTime::from_unix_timestamp(token.issued_at).ok()?;
    let until = issued_at.checked_add(MAX_AGE)?;
    (until > now).then_some(until)
}

fn refuse(provider_name: &str, error: &UpstreamError) -> Response {
    match error {
        UpstreamError::Unavailable(_) => {
            tracing::warn!(
                provider.name = provider_name,
                error = %error.detail(),
                "a logout token of an upstream cannot be judged"
            );
            OAuthError::new(
                OAuthErrorCode::TemporarilyUnavailable,
                "the provider's keys cannot be fetched now",
            )
            .into_response()
        }
        other => not_accepted(provider_name, other.code()),
    }
}

/// §2.8: 400, with the words of RFC 6749 §5.2. Which rule was broken is for the operator's log.
fn not_accepted(provider_name: &str, code: &'static str) -> Response {
    tracing::warn!(
        provider.name = provider_name,
        reason = code,
        "a logout token of an upstream is not accepted"
    );
    OAuthError::invalid_request("the logout token is not accepted").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_for_ten_minutes_from_when_it_was_made() {
        let at = |secs| OffsetDateTime::from_unix_timestamp(secs).unwrap();
        let made = |issued_at| LogoutToken {
            issuer: "https://op.test".to_owned(),
            subject: None,
            sid: Some("s".to_owned()),
            jti: "j".to_owned(),
            issued_at,
            expires_at: i64::MAX,
        };
        assert_eq!(counts_until(&made(1000), at(1000)), Some(at(1600)));
        assert_eq!(counts_until(&made(1000), at(1599)), Some(at(1600)));
        assert_eq!(counts_until(&made(1000), at(1600)), None);
        assert_eq!(counts_until(&made(i64::MAX), at(1000)), None);
    }
}
