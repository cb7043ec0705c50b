//! `GET, POST /oauth/authorize` (RFC 6749 §4.1.1; OpenID Connect Core §3.1.2.1).
//!
//! Whom to answer is settled first; an error until then is a page, never a redirect. From then on every error goes back to
//! the client. A request that needs a person is stored and resumed by id.

use axum::extract::State;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use time::OffsetDateTime;

use super::{code, id_token_hint, login_redirect, pending};
use crate::db;
use crate::db::retry::retrying;
use crate::error::{AppError, OAuthErrorCode, OAuthRefusal};
use crate::http::api_doc::{AuthorizationParameters, Refused};
use crate::http::browser::{Browser, BrowserSession, MaybeBrowserSession};
use crate::http::error_report::refuse_on_page;
use crate::http::now::Now;
use crate::http::oauth_params::{OAuthParams, ParamsRejection};
use crate::http::page;
use crate::http::state::AppState;
use crate::protocol::authorization::{AuthorizationRequest, Callback, Policy};
use crate::protocol::client::Client;
use crate::protocol::ids::ClientId;
use crate::protocol::interaction::{Step, demands_login};
use crate::protocol::params::Params;
use crate::protocol::request_object;

/// `GET, POST /oauth/authorize`.
///
/// A POST is stored and answered by 303 to the resume URL: the browser shows its `SameSite=Lax` cookies only there, when
/// the POST came from another site.
#[utoipa::path(method(get, post), path = "/oauth/authorize", tag = "openid connect", operation_id = "authorize",
    params(AuthorizationParameters),
    responses(
        (status = 303, description = "To the app with a code or an error, to a page that a person has to see, or to the upstream provider"),
        (status = 200, description = "With response_mode=form_post: a page that posts the answer to the app", body = String, content_type = "text/html"),
        Refused,
    ))]
pub async fn authorize(
    State(state): State<AppState>,
    Now(now): Now,
    method: Method,
    browser: Browser,
    MaybeBrowserSession(session): MaybeBrowserSession,
    params: Result<OAuthParams, ParamsRejection>,
) -> Result<Response, AppError> {
    let params = match params {
        Ok(OAuthParams(params)) => params,
        Err(ParamsRejection::Refused(error)) => {
            return Ok(refuse_on_page(&state, &Params::default(), None, &error.refusal, now).await);
        }
        Err(too_large) => return Ok(too_large.into_response()),
    };
    let (client, request) = match understand(&state, &params, now).await? {
        Understood::Request(client, request) => (client, request),
        Understood::Answer(answer) => return Ok(answer),
    };
    let outcome = if method == Method::POST {
        let known = browser.is_known().then_some(&browser);
        pending::store(&state, &request, known, None, now)
            .await
            .map(|handle| page::redirect(&login_redirect::resume(&state.config, &handle)))
    } else {
        advance(&state, &client, &request, &browser, session.as_ref(), now).await
    };
    let mut response =
        outcome.unwrap_or_else(|refusal| page::authorization_response(&request.callback.error(&refusal)));
    if method == Method::GET
        && let Some(cookie) = browser.set_cookie(&state)
    {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// What became of the parameters.
enum Understood {
    Request(std::sync::Arc<Client>, Box<AuthorizationRequest>),
    /// The answer to a request that cannot go on.
    Answer(Response),
}

/// Who asks, where the answer goes, what is asked; in this order.
async fn understand(state: &AppState, params: &Params, now: OffsetDateTime) -> Result<Understood, AppError> {
    let client_id = match params.get("client_id") {
        Ok(Some(client_id)) => ClientId(client_id.to_owned()),
        Ok(None) => {
            return page(
                state,
                params,
                None,
                OAuthRefusal::invalid_request("client_id is missing"),
                now,
            )
            .await;
        }
        Err(refusal) => return page(state, params, None, refusal, now).await,
    };
    let Some(client) = state
        .clients
        .reload(&state.db, &client_id)
        .await?
        .filter(|client| !client.disabled)
    else {
        return page(
            state,
            params,
            None,
            OAuthRefusal::invalid_request("client_id names no client that is registered here"),
            now,
        )
        .await;
    };
    let issuer = &state.config.jwt.issuer;
    let merged = match request_object::read(params, &client, issuer, now) {
        Ok(merged) => merged,
        // The object is unreadable, so only a redirect URI of the query itself can carry the news.
        Err(refusal) => {
            return match Callback::trust(&client, params, issuer) {
                Ok(callback) => Ok(Understood::Answer(page::authorization_response(
                    &callback.error(&refusal),
                ))),
                Err(_) => page(state, params, Some(&client), refusal, now).await,
            };
        }
    };
    let callback = match Callback::trust(&client, &merged, issuer) {
        Ok(callback) => callback,
        Err(refusal) => return page(state, &merged, Some(&client), refusal, now).await,
    };
    let policy = Policy {
        issuer,
        defined_scopes: &state.defined_scopes,
    };
    let parsed =
        AuthorizationRequest::parse(&merged, callback.clone(), &client, &policy, now.unix_timestamp())
            .and_then(|request| read_hint(state, request, now));
    Ok(match parsed {
        Ok(request) => Understood::Request(client, Box::new(request)),
        Err(refusal) => Understood::Answer(page::authorization_response(&callback.error(&refusal))),
    })
}

/// Whom the `id_token_hint` names: an ID token of ours, which may have expired (OpenID Connect Core §3.1.2.1). A `sub` that
/// the `claims` parameter demanded has to be the same person.
fn read_hint(
    state: &AppState,
    mut request: AuthorizationRequest,
    now: OffsetDateTime,
) -> Result<AuthorizationRequest, OAuthRefusal> {
    let Some(hint) = request.id_token_hint.take() else {
        return Ok(request);
    };
    let subject = id_token_hint::verify(&state.keys.current(), &state.config.jwt.issuer, &hint, now)
        .map(|claims| claims.sub)
        .ok_or_else(|| OAuthRefusal::invalid_request("id_token_hint is not an ID token of this issuer"))?;
    if request.hint_subject.is_some_and(|demanded| demanded != subject) {
        return Err(OAuthRefusal::new(
            OAuthErrorCode::LoginRequired,
            "id_token_hint and the claims parameter name different people",
        ));
    }
    request.hint_subject = Some(subject);
    Ok(request)
}

/// Goes on as far as nobody has to be asked.
async fn advance(
    state: &AppState,
    client: &Client,
    request: &AuthorizationRequest,
    browser: &Browser,
    session: Option<&BrowserSession>,
    now: OffsetDateTime,
) -> Result<Response, OAuthRefusal> {
    let demands_login = demands_login(request, pending::facts(session));
    match (
        pending::step(state, request, client, session, None, demands_login).await?,
        session,
    ) {
        (Step::Issue(scope), Some(session)) => {
            let issued = retrying(&state.rng, || async {
                let mut tx = state.db.begin().await?;
                let code = code::issue(&mut tx, state, client, request, session, &scope, now).await?;
                if code.is_ok() {
                    tx.commit().await?;
                }
                Ok::<_, sqlx::Error>(code)
            });
            let code = issued.await.map_err(|error| pending::unavailable(&error))??;
            Ok(code.answer(state, request, session, now))
        }
        (Step::Refuse(refusal), _) => Err(refusal),
        (Step::Consent, Some(session)) if state.config.oauth.consent_url.is_some() => {
            let handle = pending::store(state, request, Some(browser), Some(demands_login), now).await?;
            db::authorization_requests::bind_person(
                &state.db,
                &handle.hash(),
                session.session.user_id,
                session.session.session_id,
            )
            .await
            .map_err(|error| pending::unavailable(&error))?;
            let page = login_redirect::consent(&state.config, &handle);
            page.map(|page| page::redirect(&page)).ok_or_else(no_consent_page)
        }
        (Step::Consent, _) => Err(no_consent_page()),
        (Step::Login | Step::Issue(_), _) => {
            let handle = pending::store(state, request, Some(browser), Some(demands_login), now).await?;
            login_redirect::login(&state.config, &handle)
                .map(|page| page::redirect(&page))
                .ok_or_else(no_login_page)
        }
    }
}

/// There is nowhere to sign in.
pub(super) fn no_login_page() -> OAuthRefusal {
    OAuthRefusal::new(
        OAuthErrorCode::LoginRequired,
        "nobody is signed in, and no page to sign in is configured",
    )
}

/// There is nowhere to agree.
pub(super) fn no_consent_page() -> OAuthRefusal {
    OAuthRefusal::new(
        OAuthErrorCode::ConsentRequired,
        "the person has to agree, and no page to ask is configured",
    )
}

async fn page(
    state: &AppState,
    params: &Params,
    client: Option<&Client>,
    refusal: OAuthRefusal,
    now: OffsetDateTime,
) -> Result<Understood, AppError> {
    Ok(Understood::Answer(
        refuse_on_page(state, params, client, &refusal, now).await,
    ))
}
