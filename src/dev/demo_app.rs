//! An ordinary app that people sign in to with the provider: what any relying party does, and shown in decoded form.
//!
//! It knows of the provider what every app knows: the issuer, a client id, a secret. Everything else comes from
//! discovery. It runs the code flow with PKCE, `state` and `nonce`, checks `iss`, signature and claims, asks UserInfo,
//! refreshes, revokes, signs out (RP-initiated logout), and hears that somebody signed out elsewhere (back-channel logout).
//!
//! | file | what |
//! | --- | --- |
//! | [`relying_party`] | talking to the provider |
//! | [`id_token`] | judging an ID token's claims |
//! | [`logout_token`] | judging a logout token's claims |
//! | `memory` | who is signed in here |
//! | `pages` | what people see; the element ids are stable, for scripted browsers |

pub mod id_token;
pub mod logout_token;
mod memory;
mod pages;
pub mod relying_party;

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use secrecy::SecretString;

use crate::clock::Clock;
use memory::{Memory, Pending, SessionHandle};
use relying_party::{CallbackParams, RelyingParty, SignedIn};

/// The demo app's own cookie; nothing of the provider's is read here.
const COOKIE: &str = "demo_session";

/// What the demo app is told, which is what any app is told when it is registered.
#[derive(Clone, Debug)]
pub struct DemoAppOptions {
    /// The provider, byte for byte.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: SecretString,
    /// Where browsers reach the demo app, without a trailing slash; the redirect URI is `{base_url}/callback`.
    pub base_url: String,
    /// The scopes to ask for, separated by spaces.
    pub scope: String,
    /// Where a sign-out leads when the provider has no `end_session_endpoint`.
    pub signed_out_url: String,
    pub clock: Clock,
}

#[derive(Clone)]
struct DemoApp(Arc<Inner>);

struct Inner {
    relying_party: RelyingParty,
    signed_out_url: String,
    memory: Memory,
}

/// The routes of the demo app. Fails only if no HTTP client can be made.
pub fn router(options: DemoAppOptions) -> anyhow::Result<Router> {
    let app = DemoApp(Arc::new(Inner {
        signed_out_url: options.signed_out_url.clone(),
        relying_party: RelyingParty::new(options).context("make the demo app's HTTP client")?,
        memory: Memory::default(),
    }));
    Ok(Router::new()
        .route("/", get(home))
        .route("/sign-in", get(sign_in))
        .route("/callback", get(callback))
        .route("/refresh", post(refresh))
        .route("/sign-out", post(sign_out))
        .route("/backchannel-logout", post(backchannel_logout))
        .route("/style.css", get(pages::style))
        .with_state(app))
}

/// `GET /`: what is known of the person, or a button to sign in.
async fn home(State(DemoApp(app)): State<DemoApp>, headers: HeaderMap) -> Response {
    let signed_in = session(&headers).and_then(|handle| app.memory.signed_in(&handle));
    match signed_in {
        Some(signed_in) => pages::signed_in(&signed_in),
        None => pages::signed_out(app.relying_party.issuer()),
    }
}

/// `GET /sign-in`, with `prompt=login` or `prompt=none` if asked for: to the provider.
async fn sign_in(
    State(DemoApp(app)): State<DemoApp>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let prompt = url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "prompt")
        .map(|(_, value)| value.into_owned())
        .filter(|prompt| matches!(prompt.as_str(), "login" | "none" | "consent" | "select_account"));
    let started = match app.relying_party.start(prompt.as_deref()).await {
        Ok(started) => started,
        Err(error) => return pages::failed(StatusCode::BAD_GATEWAY, &error),
    };
    let handle = session(&headers).unwrap_or_else(SessionHandle::generate);
    let pending = Pending {
        nonce: started.nonce,
        code_verifier: started.code_verifier,
        metadata: started.metadata,
    };
    app.memory.remember(&handle, started.state, pending);
    with_session(redirect(&started.authorization_url), Some(&handle))
}

/// `GET /callback`: the authorization response (OpenID Connect Core §3.1.2.5).
async fn callback(
    State(DemoApp(app)): State<DemoApp>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let params = CallbackParams::parse(query.as_deref().unwrap_or_default());
    let pending = params.state.as_deref().and_then(|state| {
        let handle = session(&headers)?;
        app.memory.take(&handle, state).map(|pending| (handle, pending))
    });
    // RFC 6749 §10.12: an answer that this browser did not ask for is thrown away unread.
    let Some((handle, pending)) = pending else {
        let text = "this sign-in was not started in this browser, or it was answered before";
        return pages::failed(
            StatusCode::BAD_REQUEST,
            &relying_party::Failure::Refused(text.into()),
        );
    };
    match app.relying_party.finish(&params, &pending).await {
        Ok(signed_in) => {
            // A new handle for a new state of trust: one that somebody planted before must not become signed in.
            let renewed = app.memory.sign_in(&handle, signed_in);
            with_session(redirect("/"), Some(&renewed))
        }
        Err(error) => pages::failed(StatusCode::BAD_REQUEST, &error),
    }
}

/// `POST /refresh`: new tokens for the refresh token (OpenID Connect Core §12).
async fn refresh(State(DemoApp(app)): State<DemoApp>, headers: HeaderMap) -> Response {
    if let Some(refused) = refuse_foreign(&headers) {
        return refused;
    }
    let known =
        session(&headers).and_then(|handle| app.memory.signed_in(&handle).map(|known| (handle, known)));
    let Some((handle, known)) = known else {
        return redirect("/");
    };
    match app.relying_party.refresh(&known).await {
        Ok(renewed) => {
            app.memory.replace(&handle, renewed);
            redirect("/")
        }
        Err(error) => pages::failed(StatusCode::BAD_GATEWAY, &error),
    }
}

/// `POST /sign-out`: forgets the person, revokes the tokens, and leads to where the provider's own session ends.
async fn sign_out(State(DemoApp(app)): State<DemoApp>, headers: HeaderMap) -> Response {
    if let Some(refused) = refuse_foreign(&headers) {
        return refused;
    }
    let signed_in: Option<SignedIn> = session(&headers).and_then(|handle| app.memory.forget(&handle));
    let target = match signed_in {
        Some(signed_in) => app.relying_party.sign_out(&signed_in).await,
        None => None,
    };
    with_session(redirect(target.as_deref().unwrap_or(&app.signed_out_url)), None)
}

/// `POST /backchannel-logout`: the provider says that a session has ended (OpenID Connect Back-Channel Logout 1.0 §2.5).
async fn backchannel_logout(State(DemoApp(app)): State<DemoApp>, form: String) -> Response {
    let token = url::form_urlencoded::parse(form.as_bytes())
        .find(|(name, _)| name == "logout_token")
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default();
    let status = match app.relying_party.logged_out(&token).await {
        Ok(logged_out) if app.memory.is_first(&logged_out.jti) => {
            app.memory.forget_logged_out(&logged_out);
            StatusCode::OK
        }
        Ok(_) => StatusCode::BAD_REQUEST,
        Err(error) => {
            tracing::warn!(error = %error, "the demo app does not accept a logout token");
            StatusCode::BAD_REQUEST
        }
    };
    (status, [(header::CACHE_CONTROL, "no-store")]).into_response()
}

/// `SameSite=Lax` does not tell the ports of one host apart; browsers' `Sec-Fetch-Site` does.
fn refuse_foreign(headers: &HeaderMap) -> Option<Response> {
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    match site {
        None | Some("same-origin") => None,
        Some(_) => Some((StatusCode::FORBIDDEN, "This form belongs to the demo app.\n").into_response()),
    }
}

fn session(headers: &HeaderMap) -> Option<SessionHandle> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| SessionHandle::from_cookie(value))
}

/// Sets the cookie, or removes it with `None`.
fn with_session(mut response: Response, handle: Option<&SessionHandle>) -> Response {
    let cookie = match handle {
        Some(handle) => format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Lax", handle.as_str()),
        None => format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"),
    };
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

fn redirect(location: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
