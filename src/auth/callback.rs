//! `GET|POST /auth/{provider}/callback`: a browser comes back from an upstream.
//!
//! The flow is taken out of the database first, whatever comes of it: a callback counts once, in the browser that started
//! it, for the provider it was started at, and nothing is asked of the network before that is certain.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::destination;
use super::flow::{self, LoginFlow, PostedCallback, Target};
use super::linking;
use super::newcomer;
use super::respond::{Audience, with_browser, with_cookies};
use super::sign_in::{SignedIn, Visit};
use crate::accounts;
use crate::config::oauth::Reauth;
use crate::db;
use crate::db::retry::retrying;
use crate::db::upstream_flows::LinkStarter;
use crate::db::users::UpstreamProfile;
use crate::error::AppError;
use crate::http::api_doc::{Refused, SignedInAnswer, UpstreamAnswer};
use crate::http::now::Now;
use crate::http::page;
use crate::http::segment::Segment;
use crate::http::state::AppState;
use crate::protocol::opaque::Opaque;
use crate::protocol::params::Params;
use crate::protocol::pkce::CodeVerifier;
use crate::upstream::{CallbackParams, Expected, Identity, Provider, UpstreamError, normalised_email};

/// How often a sign-in starts over when another one of the same person changed what it stands on.
const ATTEMPTS: usize = 3;

/// What a proved identity comes to.
pub enum Admission {
    /// They are in.
    SignedIn(Box<SignedIn>),
    /// They have to do something first, elsewhere; the response says where.
    Elsewhere(Response),
    /// Somebody else's request changed the ground under this one: look again.
    Again,
}

/// `POST /auth/{provider}/callback`: an answer by form_post comes from another site and without our cookies. It is kept,
/// sealed under its state, and fetched by a GET that has them.
#[utoipa::path(post, path = "/auth/{provider}/callback", tag = "sign-in", operation_id = "receive_posted_upstream_answer",
    request_body(content = UpstreamAnswer, content_type = "application/x-www-form-urlencoded"),
    params(("provider" = String, Path)),
    responses((status = 303, description = "To the same place as a GET, which has the cookies"), (status = 200, description = "Signed in, with nowhere to go on to", content((SignedInAnswer = "application/json"), (String = "text/html"))), Refused))]
pub async fn posted(
    State(state): State<AppState>,
    Segment(provider): Segment,
    Now(now): Now,
    audience: Audience,
    body: Bytes,
) -> Response {
    let stored = async {
        // Before the name goes anywhere: it is the caller's text.
        let provider = state.upstreams.get(&provider).ok_or_else(stale)?.name();
        let params = Params::parse(&body).map_err(|_| stale())?;
        let (handle, callback) = read(&params)?;
        let posted = PostedCallback {
            code: callback.code,
            error: callback.error,
            iss: callback.iss,
            user: callback.user,
        };
        let sealed = flow::seal(&handle, &state.rng, &posted);
        if !db::upstream_flows::store_posted(&state.db, &handle.hash(), provider, &sealed, now).await? {
            return Err(stale());
        }
        Ok(format!(
            "{}?state={}",
            destination::callback(&state.config, provider),
            handle.expose()
        ))
    };
    match stored.await {
        Ok(url) => page::redirect(&url),
        Err(error) => audience.refuse(&state, error, now).await,
    }
}

/// `GET /auth/{provider}/callback`.
#[utoipa::path(get, path = "/auth/{provider}/callback", tag = "sign-in", operation_id = "receive_upstream_answer",

    params(("provider" = String, Path), ("state" = String, Query), ("code" = Option<String>, Query), ("error" = Option<String>, Query), ("iss" = Option<String>, Query)),
    responses((status = 303, description = "On to where the login was for, to onboarding, or back to the login page"), (status = 200, description = "Signed in, with nowhere to go on to", content((SignedInAnswer = "application/json"), (String = "text/html"))), Refused))]
pub async fn callback(
    Segment(provider): Segment,
    audience: Audience,
    visit: Visit,
    RawQuery(query): RawQuery,
) -> Response {
    match finish(&visit, &provider, audience, &query.unwrap_or_default()).await {
        Ok(response) => with_browser(response, &visit.browser, &visit.state),
        Err(error) => audience.refuse(&visit.state, error, visit.now).await,
    }
}

async fn finish(
    visit: &Visit,
    provider_name: &str,
    audience: Audience,
    query: &str,
) -> Result<Response, AppError> {
    let state = &visit.state;
    let params = Params::parse(query.as_bytes()).map_err(|_| stale())?;
    let (handle, callback) = read(&params)?;
    let row = db::upstream_flows::consume(&state.db, &handle.hash(), &visit.browser.hash())
        .await?
        .filter(|row| row.provider == provider_name && row.expires_at > visit.now)
        .ok_or_else(stale)?;
    let flow: LoginFlow = flow::open(&handle, &row.sealed).ok_or_else(stale)?;
    let callback = match &row.posted {
        Some(posted) => flow::open::<PostedCallback>(&handle, posted)
            .ok_or_else(stale)?
            .into(),
        None => callback,
    };
    let starter = match row.kind.as_str() {
        "login" => None,
        "link" => match linking::require_starter(visit, &row) {
            Ok(starter) => Some(starter),
            Err(refused) => return linking::failed(visit, refused),
        },
        _ => return Err(stale()),
    };
    // A provider that was taken out of the configuration meanwhile.
    let provider = state.upstreams.get(provider_name).ok_or_else(stale)?;
    let code_verifier = CodeVerifier::parse(&flow.code_verifier).ok_or_else(stale)?;
    let expected = Expected {
        redirect_uri: &destination::callback(&state.config, provider_name),
        nonce: &flow.nonce,
        code_verifier: &code_verifier,
        reauthenticated_since: flow.reauthenticate.then(|| row.created_at.unix_timestamp()),
        require_proof: flow.reauthenticate && state.config.oauth.reauth == Reauth::Proven,
    };
    let proved = provider.finish(&callback, &expected, visit.now).await;
    if let Some(starter) = starter {
        return linked(visit, starter, provider_name, proved, &flow.target, audience).await;
    }
    match proved {
        Ok(identity) => match admit(visit, provider, &identity, &flow.target, audience).await {
            Err(refused) => turned_away(visit, &flow.target, refused).await,
            welcomed => welcomed,
        },
        Err(error) => failed(visit, provider_name, &flow.target, &error).await,
    }
}

/// The end of a link: a page that asks for its confirmation, or one that says why there is nothing to confirm.
async fn linked(
    visit: &Visit,
    starter: LinkStarter,
    provider: &str,
    proved: Result<Identity, UpstreamError>,
    target: &Target,
    audience: Audience,
) -> Result<Response, AppError> {
    let arrived = match proved {
        Ok(identity) => linking::arrived(visit, starter, &identity, target, audience).await,
        Err(error) => {
            log_failure(provider, &error);
            Err(for_the_person(&error))
        }
    };
    match arrived {
        Err(refused) => linking::failed(visit, refused),
        page => page,
    }
}

/// Signs the person in whose identity this is, or lets a newcomer in.
async fn admit(
    visit: &Visit,
    provider: &Provider,
    identity: &Identity,
    target: &Target,
    audience: Audience,
) -> Result<Response, AppError> {
    for _ in 0..ATTEMPTS {
        let again = || known(visit, identity, target);
        let admission = match retrying(&visit.state.rng, again).await? {
            Some(signed_in) => Admission::SignedIn(Box::new(signed_in)),
            None => newcomer::admit(visit, provider, identity, target).await?,
        };
        match admission {
            Admission::SignedIn(signed_in) => return welcome(visit, &signed_in, target, audience).await,
            Admission::Elsewhere(response) => return Ok(response),
            Admission::Again => {}
        }
    }
    Err(AppError::new(
        StatusCode::CONFLICT,
        "conflict",
        "this sign-in met another one, try again",
    ))
}

/// The sign-in of somebody whose identity is linked; `None` for a newcomer. One transaction.
async fn known(visit: &Visit, identity: &Identity, target: &Target) -> Result<Option<SignedIn>, AppError> {
    let mut tx = visit.state.db.begin().await?;
    let Some(linked) = db::oauth_links::lock_user_of(&mut tx, &identity.issuer, &identity.subject).await?
    else {
        return Ok(None);
    };
    if linked.disabled {
        return Err(account_disabled());
    }
    let email_folded = identity.email.as_deref().and_then(normalised_email);
    let description = accounts::describe(identity, email_folded.as_deref());
    let change = db::oauth_links::mark_login(
        &mut *tx,
        linked.link_id,
        &identity.provider,
        description,
        visit.now,
    )
    .await?;
    let email_changed = accounts::told_of(&mut tx, linked.user_id, linked.link_id, change).await?;
    let passthrough = &visit.state.config.claims.passthrough;
    let profile = UpstreamProfile {
        link_id: linked.link_id,
        name: identity.name.as_deref(),
        picture: identity.picture.as_deref(),
        claims: &accounts::passed_on(identity, passthrough),
        passthrough,
    };
    let user = accounts::refresh_profile(&mut tx, linked.user_id, &profile, email_changed, visit.now)
        .await?
        .ok_or_else(AppError::unauthenticated)?;
    let signed_in = visit
        .open_session(
            &mut tx,
            user,
            linked.link_id,
            identity,
            target,
            visit.now.unix_timestamp(),
        )
        .await?;
    tx.commit().await?;
    Ok(Some(signed_in))
}

async fn welcome(
    visit: &Visit,
    signed_in: &SignedIn,
    target: &Target,
    audience: Audience,
) -> Result<Response, AppError> {
    let response = match destination::after_login(&visit.state.config, target) {
        Some(url) => page::redirect(&url),
        None => audience.signed_in(),
    };
    Ok(with_cookies(response, visit.cookies(signed_in).await?))
}

/// A sign-in that the upstream did not confirm. Its own words stay there; what goes on is a fixed code.
async fn failed(
    visit: &Visit,
    provider: &str,
    target: &Target,
    error: &UpstreamError,
) -> Result<Response, AppError> {
    log_failure(provider, error);
    let config = &visit.state.config;
    let told = for_the_person(error);
    let Some(request) = target.request() else {
        return match destination::failed_login_page(config, told.code) {
            Some(url) => Ok(page::redirect(&url)),
            None => Err(told),
        };
    };
    // The person can try again, or another provider.
    let again = destination::login_page_again(config, &request, told.code);
    let failure = match (error, again) {
        (UpstreamError::NotFresh, _) => "login_required",
        (_, Some(url)) => return Ok(page::redirect(&url)),
        (UpstreamError::Unavailable(_), None) => "temporarily_unavailable",
        (UpstreamError::Denied | UpstreamError::Refused(_), None) => "access_denied",
    };
    fail_request(visit, &request, failure).await
}

fn log_failure(provider: &str, error: &UpstreamError) {
    if matches!(error, UpstreamError::Denied) {
        tracing::info!(
            event = "sign_in.declined",
            provider.name = provider,
            "a person declined at the upstream"
        );
    } else {
        tracing::warn!(
            event = "sign_in.failed",
            provider.name = provider,
            error = %error.detail(),
            "an upstream sign-in failed"
        );
    }
}

/// Somebody who is known or proved and may not come in. Without a page where they could try another account, the app is told
/// (`access_denied`); with one they stay here and read why, and their request waits for a better attempt.
async fn turned_away(visit: &Visit, target: &Target, refused: AppError) -> Result<Response, AppError> {
    if refused.status.is_client_error() {
        tracing::warn!(
            event = "sign_in.refused",
            code = refused.code,
            "a person may not come in"
        );
    }
    match target.request() {
        Some(request)
            if refused.status == StatusCode::FORBIDDEN && visit.state.config.oauth.login_url.is_none() =>
        {
            fail_request(visit, &request, "access_denied").await
        }
        _ => Err(refused),
    }
}

/// Ends an authorization request with an OAuth error, which its app receives at the next step.
pub async fn fail_request(
    visit: &Visit,
    request: &Opaque,
    failure: &'static str,
) -> Result<Response, AppError> {
    db::authorization_requests::mark_failed(
        &visit.state.db,
        &request.hash(),
        &visit.browser.hash(),
        failure,
        visit.now,
    )
    .await?;
    Ok(page::redirect(&destination::resume(
        &visit.state.config,
        &request.expose(),
    )))
}

/// What became of a sign-in, as a fixed code and in words.
fn for_the_person(error: &UpstreamError) -> AppError {
    match error {
        UpstreamError::Denied => AppError::new(
            StatusCode::FORBIDDEN,
            "access_denied",
            "the sign-in was cancelled at the provider",
        ),
        UpstreamError::Unavailable(_) => AppError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "upstream_unavailable",
            "the sign-in provider cannot be reached at the moment, try again or use another",
        ),
        UpstreamError::NotFresh | UpstreamError::Refused(_) => AppError::new(
            StatusCode::FORBIDDEN,
            "sign_in_failed",
            "the sign-in provider did not confirm who you are",
        ),
    }
}

/// The state and what else a callback says. A parameter that is sent twice is no callback of anybody's.
fn read(params: &Params) -> Result<(Opaque, CallbackParams), AppError> {
    let get = |name| {
        params
            .get(name)
            .map(|value| value.map(str::to_owned))
            .map_err(|_| stale())
    };
    let handle = get("state")?
        .as_deref()
        .and_then(Opaque::parse)
        .ok_or_else(stale)?;
    let callback = CallbackParams {
        code: get("code")?,
        state: None,
        error: get("error")?,
        iss: get("iss")?,
        user: get("user")?,
    };
    Ok((handle, callback))
}

/// The account exists and may not be used.
pub fn account_disabled() -> AppError {
    AppError::new(
        StatusCode::FORBIDDEN,
        "account_disabled",
        "this account is disabled",
    )
}

/// Expired, used, another browser's, another provider's, never there: all the same.
fn stale() -> AppError {
    AppError::bad_request(
        "stale_sign_in",
        "this sign-in has expired or was completed already, go back and start again",
    )
}
