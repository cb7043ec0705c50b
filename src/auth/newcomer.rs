//! Somebody whom an upstream has proved and nobody here knows: may they join, do they belong to an account already, and do
//! they pick a name or get one.

use axum::http::StatusCode;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::callback::{Admission, fail_request};
use super::flow::{self, PENDING_PER_BROWSER, SETUP_LIFETIME, Setup, Target};
use super::merge::{self, Candidate, MergeDecision, Newcomer};
use super::respond::with_cookies;
use super::sign_in::{SignedIn, Visit};
use crate::accounts::{self, NewAccount, NotCreated};
use crate::audit::{self, Actor};
use crate::config::oauth::Onboarding;
use crate::config::providers::{EmailTrust, Signup};
use crate::db;
use crate::db::pending_identities::NewSetup;
use crate::db::retry::retrying;
use crate::error::AppError;
use crate::http::cookies::{CookieKind, Cookies};
use crate::http::page;
use crate::http::state::AppState;
use crate::protocol::ids::UserId;
use crate::protocol::opaque::Opaque;
use crate::upstream::{Identity, Provider, normalised_email};
use crate::usernames::{Username, UsernameRules};

/// Lets a newcomer in, joins them to their account, or sends them to where they decide.
pub async fn admit(
    visit: &Visit,
    provider: &Provider,
    identity: &Identity,
    target: &Target,
) -> Result<Admission, AppError> {
    require_signup(&visit.state, provider, identity)?;
    let mut connection = visit.state.db.acquire().await?;
    let decision = decide_merge(&mut connection, &visit.state, provider, identity).await?;
    drop(connection);
    let link_suggested = match decision {
        MergeDecision::Merge(user_id, _) => {
            let joined = || merge(visit, provider, user_id, identity, target);
            return retrying(&visit.state.rng, joined).await;
        }
        MergeDecision::Suggest => true,
        MergeDecision::Newcomer => false,
    };
    let oauth = &visit.state.config.oauth;
    let asked_to_link = link_suggested && oauth.link_url.is_some();
    if oauth.onboarding == Onboarding::Auto && !asked_to_link {
        let names = free_names(&visit.state, identity, visit.now).await?;
        if let Some(name) = names.first() {
            return create(visit, name, identity, target).await;
        }
        tracing::warn!("no username could be derived under the pattern of the configuration");
    }
    if is_known_by_now(visit, identity).await? {
        return Ok(Admission::Again);
    }
    ask(visit, identity, target, link_suggested).await
}

/// Whether another browser of the same person was faster: then the account that has the address is their own, and there is
/// nothing to ask.
async fn is_known_by_now(visit: &Visit, identity: &Identity) -> Result<bool, AppError> {
    let mut tx = visit.state.db.begin().await?;
    let linked = db::oauth_links::lock_user_of(&mut tx, &identity.issuer, &identity.subject).await?;
    Ok(linked.is_some())
}

/// Whether this identity may join, in the words that its owner is told.
pub fn require_signup(state: &AppState, provider: &Provider, identity: &Identity) -> Result<(), AppError> {
    if provider.signup_allowed(identity) {
        return Ok(());
    }
    let configured = state
        .config
        .oauth
        .providers
        .get(provider.name())
        .map(|provider| provider.signup);
    Err(if configured == Some(Signup::Closed) {
        AppError::new(
            StatusCode::FORBIDDEN,
            "signup_closed",
            "new accounts cannot be made with this provider",
        )
    } else {
        AppError::new(
            StatusCode::FORBIDDEN,
            "signup_refused",
            "this account may not join here",
        )
    })
}

/// Names within the rules that nobody has, best first.
pub async fn free_names(
    state: &AppState,
    identity: &Identity,
    now: OffsetDateTime,
) -> Result<Vec<Username>, AppError> {
    let rules = username_rules(state)?;
    // Never from the address: a username is public.
    let hints: Vec<&str> = [&identity.username_hint, &identity.name]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let candidates = rules.candidates(&hints, &state.rng);
    Ok(accounts::names::free(&state.db, &state.keyring, candidates, now).await?)
}

/// The rules of the configuration, compiled. Only newcomers and renames need them.
pub fn username_rules(state: &AppState) -> Result<UsernameRules, AppError> {
    UsernameRules::new(&state.config.usernames)
        .map_err(|error| AppError::failure(anyhow::Error::new(error).context("compile usernames.pattern")))
}

async fn decide_merge(
    db: &mut PgConnection,
    state: &AppState,
    provider: &Provider,
    identity: &Identity,
) -> Result<MergeDecision, AppError> {
    let (newcomer, candidates) = weigh(db, state, provider, identity, None).await?;
    Ok(merge::decide(
        state.config.oauth.account_merge_policy,
        newcomer,
        &candidates,
    ))
}

/// Whether the account that was suggested to this newcomer is, or may have been, that of `user_id`.
pub async fn was_meant(
    db: &mut PgConnection,
    state: &AppState,
    provider: &Provider,
    identity: &Identity,
    user_id: UserId,
) -> Result<bool, AppError> {
    let (newcomer, candidates) = weigh(db, state, provider, identity, Some(user_id)).await?;
    Ok(merge::was_meant(newcomer, &candidates, user_id))
}

/// What is believed of the newcomer's address, and who else has it; the links of `first` before all others.
async fn weigh(
    db: &mut PgConnection,
    state: &AppState,
    provider: &Provider,
    identity: &Identity,
    first: Option<UserId>,
) -> Result<(Newcomer, Vec<Candidate>), AppError> {
    let newcomer = Newcomer {
        email_verified: identity.email_verified,
        trust: provider.email_trust_of(identity),
    };
    let Some(email) = identity.email.as_deref().and_then(normalised_email) else {
        return Ok((newcomer, Vec::new()));
    };
    let issuers = state.upstreams.believed_issuers();
    let links =
        db::oauth_links::find_verified_by_email(db, &email, &identity.provider, &issuers, first).await?;
    let candidates = links
        .iter()
        .map(|link| Candidate {
            link_id: link.link_id,
            user_id: link.user_id,
            trust: state
                .upstreams
                .of_link(&link.provider, &link.issuer)
                .map_or(EmailTrust::None, |provider| {
                    provider.email_trust_of_address(&email)
                }),
            live: link.live,
            has_provider: link.has_provider,
        })
        .collect();
    Ok((newcomer, candidates))
}

/// Joins the identity to the account its verified address belongs to. The account's other sessions end: whoever had them
/// had not proved this identity.
///
/// Who has the address is judged again once the account's row is locked: nobody adds or takes away a link of it meanwhile.
async fn merge(
    visit: &Visit,
    provider: &Provider,
    user_id: UserId,
    identity: &Identity,
    target: &Target,
) -> Result<Admission, AppError> {
    let state = &visit.state;
    let mut tx = state.db.begin().await?;
    let Some(user) = db::users::lock_live(&mut tx, user_id).await? else {
        return Ok(Admission::Again);
    };
    let joined_by = match decide_merge(&mut tx, state, provider, identity).await? {
        MergeDecision::Merge(again, link_id) if again == user_id => link_id,
        _ => return Ok(Admission::Again),
    };
    let link_id = match accounts::merge(&mut tx, user_id, identity, joined_by, visit.now).await {
        Ok(link_id) => link_id,
        Err(error) if is_linked(&error) => return Ok(Admission::Again),
        Err(error) => return Err(error.into()),
    };
    let entry = accounts::merged(&user, link_id, &identity.provider);
    let auth_time = visit.now.unix_timestamp();
    let signed_in = visit
        .open_session(&mut tx, user, link_id, identity, target, auth_time)
        .await?;
    audit::record(
        &mut tx,
        &state.keyring,
        &state.rng,
        &Actor::System,
        &entry,
        visit.now,
    )
    .await?;
    tx.commit().await?;
    tracing::info!(
        event = "account.merged",
        user.id = %user_id,
        provider.name = identity.provider,
        "an identity was merged into an account"
    );
    Ok(Admission::SignedIn(Box::new(signed_in)))
}

fn is_linked(error: &sqlx::Error) -> bool {
    db::violates(error, db::oauth_links::IDENTITY_LINKED)
        || db::violates(error, db::oauth_links::PROVIDER_LINKED)
}

/// Makes an account under a derived name.
async fn create(
    visit: &Visit,
    username: &Username,
    identity: &Identity,
    target: &Target,
) -> Result<Admission, AppError> {
    let opened = || open_account(visit, username, identity, target);
    match retrying(&visit.state.rng, opened).await {
        Ok(signed_in) => Ok(Admission::SignedIn(Box::new(signed_in))),
        Err(NotCreated::Database(error)) => Err(error.into()),
        Err(_) => Ok(Admission::Again),
    }
}

async fn open_account(
    visit: &Visit,
    username: &Username,
    identity: &Identity,
    target: &Target,
) -> Result<SignedIn, NotCreated> {
    let mut tx = visit.state.db.begin().await?;
    let passthrough = &visit.state.config.claims.passthrough;
    let account = NewAccount {
        username,
        display_name: None,
        identity,
        passthrough,
    };
    let (user, link_id) = accounts::create(&mut tx, &account, &visit.state.keyring, visit.now).await?;
    let signed_in = visit
        .open_session(
            &mut tx,
            user,
            link_id,
            identity,
            target,
            visit.now.unix_timestamp(),
        )
        .await?;
    tx.commit().await?;
    Ok(signed_in)
}

/// Keeps the identity and sends its owner to the page where they pick a name, or say that they have an account.
async fn ask(
    visit: &Visit,
    identity: &Identity,
    target: &Target,
    link_suggested: bool,
) -> Result<Admission, AppError> {
    let oauth = &visit.state.config.oauth;
    let link_page = oauth.link_url.as_ref().filter(|_| link_suggested);
    let Some(url) = link_page.or(oauth.onboarding_url.as_ref()) else {
        return match target.request() {
            Some(request) => fail_request(visit, &request, "interaction_required")
                .await
                .map(Admission::Elsewhere),
            None => Err(AppError::new(
                StatusCode::FORBIDDEN,
                "interaction_required",
                "a username has to be picked first, and no page for that is configured",
            )),
        };
    };
    let handle = Opaque::generate(&visit.state.rng);
    let setup = Setup {
        identity: identity.clone(),
        target: target.clone(),
        auth_time: visit.now.unix_timestamp(),
        link_suggested,
    };
    let sealed = flow::seal(&handle, &visit.state.rng, &setup);
    let row = NewSetup {
        handle_hash: &handle.hash(),
        browser_hash: &visit.browser.hash(),
        sealed: &sealed,
        expires_at: visit.now + SETUP_LIFETIME,
    };
    db::pending_identities::insert_setup(&visit.state.db, &row, PENDING_PER_BROWSER, visit.now).await?;
    // The handle travels in a cookie, never in a URL.
    let cookie =
        Cookies::new(&visit.state.config).set(CookieKind::Setup, handle.expose(), Some(SETUP_LIFETIME));
    Ok(Admission::Elsewhere(with_cookies(
        page::redirect(url.as_str()),
        [cookie],
    )))
}
