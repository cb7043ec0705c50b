//! One attempt to tell an app that a session has ended (OpenID Connect Back-Channel Logout 1.0 §2.5).
//!
//! The logout token is made for this attempt: it expires within two minutes, and a stored one would in the queue.

use axum::http::{HeaderMap, StatusCode};
use time::OffsetDateTime;
use url::{Url, form_urlencoded};
use uuid::Uuid;

use super::Outcome;
use super::ledger::Ledger;
use crate::http::state::AppState;
use crate::protocol::claims::LOGOUT_TOKEN_TYP;
use crate::protocol::client::Client;
use crate::protocol::ids::{ClientId, SessionId, UserId};
use crate::protocol::logout::logout_token_claims;

/// Who is to be told of which session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutNotice {
    pub client_id: ClientId,
    pub user_id: UserId,
    /// The session that has ended; `None`: all of the user's.
    pub session_id: Option<SessionId>,
}

/// Tells the app. 200 and 204 are a success, 400 is final (§2.8), everything else may work later.
pub async fn send(state: &AppState, ledger: &Ledger, notice: &LogoutNotice, now: OffsetDateTime) -> Outcome {
    let client = match ledger.client(&notice.client_id).await {
        Ok(client) => client,
        Err(error) => {
            tracing::warn!(error = %error, "a client could not be read to be told of a logout");
            return Outcome::NotAttempted {
                code: "client_unreadable",
            };
        }
    };
    let Some((client, url)) = client.and_then(|client| {
        let url = Url::parse(client.backchannel_logout_uri.as_deref()?).ok()?;
        Some((client, url))
    }) else {
        return Outcome::Permanent {
            code: "no_longer_registered",
            status_code: None,
        };
    };
    let claims = logout_token_claims(
        state.config.issuer(),
        &notice.client_id,
        notice.user_id,
        notice.session_id,
        &Uuid::new_v4().to_string(),
        now.unix_timestamp(),
    );
    let keys = state.keys.current();
    let algorithm = signing_algorithm(&client);
    // RSA takes milliseconds: too long for a thread that serves connections.
    let sign = move || keys.sign(LOGOUT_TOKEN_TYP, &claims, algorithm, now);
    let signed = state.signing.take(sign).await;
    let Ok(Ok(token)) = signed else {
        return Outcome::NotAttempted { code: "not_signed" };
    };
    let body = form_urlencoded::Serializer::new(String::new())
        .append_pair("logout_token", &token)
        .finish();
    let answer = state
        .outbound
        .post(&url, "application/x-www-form-urlencoded", HeaderMap::new(), body)
        .await;
    match answer {
        // §2.8 knows no other success: an app that answers 202 has not said that anybody is signed out.
        Ok(status) if status.is_success() && !matches!(status, StatusCode::OK | StatusCode::NO_CONTENT) => {
            Outcome::Retry {
                code: "refused_by_receiver",
                status_code: Some(status.as_u16()),
            }
        }
        Ok(StatusCode::BAD_REQUEST) => Outcome::Permanent {
            code: "refused_by_receiver",
            status_code: Some(400),
        },
        answer => Outcome::of(answer),
    }
}

/// The one that the app expects of ID tokens (§2.4: the same rules apply).
fn signing_algorithm(client: &Client) -> Option<crate::protocol::algorithm::SigningAlgorithm> {
    client.id_token_signed_response_alg
}
