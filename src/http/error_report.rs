//! An error page for a person, and beside it the report for the operator: what was received, what was registered, the
//! nearest match, the rule. Nothing personal: parameter names and lengths, and the values of six parameters.

use aws_lc_rs::rand::SecureRandom;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::page;
use super::state::AppState;
use crate::db;
use crate::protocol::authorization::OAuthRefusal;
use crate::protocol::client::Client;
use crate::protocol::params::Params;

/// How long a report is kept.
const KEPT: Duration = Duration::days(7);
/// The parameters whose values a report shows.
const SHOWN: [&str; 6] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "scope",
    "prompt",
    "post_logout_redirect_uri",
];
/// Longer values are cut off.
const MAX_SHOWN_CHARS: usize = 500;
/// Strangers make reports: the first parameters of a request have to do.
const MAX_PARAMS: usize = 50;
/// Longer names are cut off.
const MAX_NAME_CHARS: usize = 64;

/// Answers an authorization request that cannot be answered at the client (RFC 6749 §4.1.2.1): 400, a page, no redirect.
pub async fn refuse_on_page(
    state: &AppState,
    params: &Params,
    client: Option<&Client>,
    refusal: &OAuthRefusal,
    now: OffsetDateTime,
) -> Response {
    let error_id = keep(state, &report(params, client, refusal), now).await;
    page::error_page(
        &state.config,
        StatusCode::BAD_REQUEST,
        "This sign-in link does not work",
        &format!(
            "The app sent a request that cannot be answered: {}.",
            refusal.description
        ),
        error_id.as_deref(),
    )
}

/// Answers a logout request that cannot be followed (OpenID Connect RP-Initiated Logout 1.0 §4): 400, a page, no redirect.
/// Nothing has ended, and the page says so and shows the way to sign out without the app.
pub async fn refuse_logout_on_page(
    state: &AppState,
    params: &Params,
    client: Option<&Client>,
    refusal: &OAuthRefusal,
    now: OffsetDateTime,
) -> Response {
    let error_id = keep(state, &report(params, client, refusal), now).await;
    page::error_page_with(
        &state.config,
        StatusCode::BAD_REQUEST,
        "This sign-out link does not work",
        &format!(
            "The app sent a request that cannot be answered: {}. You have not been signed out here.",
            refusal.description
        ),
        error_id.as_deref(),
        &format!(
            "<p><a id=\"sign-out-here\" href=\"{}/oauth/logout\">Sign out here</a></p>",
            page::escape(state.config.jwt.issuer.trim_end_matches('/'))
        ),
    )
}

/// Stores a report and returns its id; a page without an id if that fails, because the person's answer comes first.
pub async fn keep(state: &AppState, report: &Value, now: OffsetDateTime) -> Option<String> {
    let error_id = new_error_id(&state.rng);
    match db::error_reports::insert(&state.db, &error_id, report, now, now + KEPT).await {
        Ok(()) => Some(error_id),
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "an error report could not be kept");
            None
        }
    }
}

/// What `explain` shows.
fn report(params: &Params, client: Option<&Client>, refusal: &OAuthRefusal) -> Value {
    let received: Vec<Value> = params
        .names_and_lengths()
        .take(MAX_PARAMS)
        .map(|(name, length)| {
            let shown = SHOWN
                .contains(&name)
                .then(|| params.get(name).ok().flatten().map(cut));
            json!({ "name": first(name, MAX_NAME_CHARS), "length": length, "value": shown.flatten() })
        })
        .collect();
    let value = |name| params.get(name).ok().flatten();
    let nearest = match (value("post_logout_redirect_uri"), client) {
        (Some(requested), Some(client)) => nearest(requested, &client.post_logout_redirect_uris),
        _ => value("redirect_uri")
            .zip(client)
            .and_then(|(requested, client)| nearest(requested, &client.redirect_uris)),
    };
    json!({
        "rule": refusal.description,
        "error": refusal.code.as_str(),
        "received": received,
        "registered": client.map(|client| json!({
            "client_id": client.client_id.as_str(),
            "name": client.name,
            "redirect_uris": client.redirect_uris,
            "post_logout_redirect_uris": client.post_logout_redirect_uris,
            "disabled": client.disabled,
        })),
        "nearest_redirect_uri": nearest,
    })
}

/// The registered URI that is most like the requested one.
fn nearest<'c>(requested: &str, registered: &'c [String]) -> Option<&'c str> {
    let requested = cut(requested);
    registered
        .iter()
        .min_by_key(|registered| strsim::levenshtein(&cut(registered), &requested))
        .map(String::as_str)
}

fn cut(text: &str) -> String {
    first(text, MAX_SHOWN_CHARS)
}

fn first(text: &str, max_chars: usize) -> String {
    text.chars().take(max_chars).collect()
}

/// Ten characters that can be read out: no vowels, nothing that looks like something else.
fn new_error_id(rng: &dyn SecureRandom) -> String {
    const ALPHABET: &[u8; 32] = b"23456789bcdfghjkmnpqrstvwxzBCDFG";
    let mut bytes = [0; 10];
    rng.fill(&mut bytes)
        .expect("the operating system provides randomness");
    bytes
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
        .collect()
}
