//! Logout: what an app may ask for and where it may lead (OpenID Connect RP-Initiated Logout 1.0 §2, §3), and what a logout
//! token says (Back-Channel Logout 1.0 §2.4).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::authorization::{MAX_STATE_BYTES, OAuthRefusal, with_params};
use super::claims::IdTokenClaims;
use super::client::Client;
use super::ids::{ClientId, SessionId, UserId};
use super::params::Params;

/// The parameters that mean something (RP-Initiated Logout §2). `logout_hint` and `ui_locales` are accepted and change
/// nothing: a browser has one session here, and the page has one language.
const PARAMETERS: [&str; 6] = [
    "id_token_hint",
    "logout_hint",
    "client_id",
    "post_logout_redirect_uri",
    "state",
    "ui_locales",
];

/// The event of a logout token (Back-Channel Logout §2.4).
pub const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Seconds that a logout token is good for. It is made at the moment it is sent (Back-Channel Logout §4: at most two
/// minutes).
pub const LOGOUT_TOKEN_TTL_SECS: i64 = 120;

/// What is asked, once each parameter stands there at most once. No `Debug`: the hint is a token.
pub struct LogoutParams<'p> {
    pub id_token_hint: Option<&'p str>,
    pub client_id: Option<ClientId>,
    pub post_logout_redirect_uri: Option<&'p str>,
    pub state: Option<&'p str>,
}

/// What a verified `id_token_hint` proves: this app had a token for this person in this session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    pub client_id: ClientId,
    pub user_id: UserId,
    pub session_id: Option<SessionId>,
}

/// A registered place to go after the logout. Only [`post_logout_redirect`] makes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostLogoutRedirect {
    client_id: ClientId,
    uri: String,
    state: Option<String>,
}

/// What is to be done about the browser's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is none.
    Nothing,
    /// The hint proves that the app speaks of exactly this session: it ends without a question.
    End,
    /// The request proves nothing, so the person is asked (RP-Initiated Logout §2).
    Ask,
}

impl<'p> LogoutParams<'p> {
    /// Reads the request.
    pub fn parse(params: &'p Params) -> Result<Self, OAuthRefusal> {
        params.refuse_repeated(&PARAMETERS)?;
        let state = params.get("state")?;
        if state.is_some_and(|state| state.len() > MAX_STATE_BYTES) {
            return Err(OAuthRefusal::invalid_request_about("state", "is too long"));
        }
        Ok(Self {
            id_token_hint: params.get("id_token_hint")?,
            client_id: params.get("client_id")?.map(|id| ClientId(id.to_owned())),
            post_logout_redirect_uri: params.get("post_logout_redirect_uri")?,
            state,
        })
    }
}

impl Hint {
    /// Of an ID token whose signature, issuer and type have been verified; that it has expired does not matter (§2).
    pub fn of(claims: IdTokenClaims) -> Self {
        Self {
            client_id: claims.aud,
            user_id: claims.sub,
            session_id: claims.sid,
        }
    }
}

/// Which app asks: the one that the hint was issued to, or else the one that `client_id` names. Both have to be the same
/// (RP-Initiated Logout §2). `None`: the request names none.
pub fn asking_client<'a>(
    client_id: Option<&'a ClientId>,
    hint: Option<&'a Hint>,
) -> Result<Option<&'a ClientId>, OAuthRefusal> {
    match (client_id, hint) {
        (Some(named), Some(hint)) if *named != hint.client_id => Err(OAuthRefusal::invalid_request(
            "client_id is not the client that the id_token_hint was issued to",
        )),
        (named, hint) => Ok(hint.map(|hint| &hint.client_id).or(named)),
    }
}

/// Where the logout leads: a URI that is registered for this very client, byte for byte (RP-Initiated Logout §3). Without one,
/// `state` has no meaning and is dropped.
pub fn post_logout_redirect(
    params: &LogoutParams<'_>,
    client: Option<&Client>,
) -> Result<Option<PostLogoutRedirect>, OAuthRefusal> {
    let Some(uri) = params.post_logout_redirect_uri else {
        return Ok(None);
    };
    let Some(client) = client else {
        return Err(OAuthRefusal::invalid_request(
            "post_logout_redirect_uri needs an id_token_hint or a client_id beside it",
        ));
    };
    let redirect = PostLogoutRedirect {
        client_id: client.client_id.clone(),
        uri: uri.to_owned(),
        state: params.state.map(str::to_owned),
    };
    if redirect.is_registered(client) {
        Ok(Some(redirect))
    } else {
        Err(OAuthRefusal::invalid_request(
            "post_logout_redirect_uri is not registered for this client",
        ))
    }
}

impl PostLogoutRedirect {
    pub fn client_id(&self) -> &ClientId {
        &self.client_id
    }

    /// Whether the client still has this URI: it may have lost it while the person was asked.
    pub fn is_registered(&self, client: &Client) -> bool {
        client.client_id == self.client_id && client.post_logout_redirect_uris.contains(&self.uri)
    }

    /// The URI with `state`, as it came (§3).
    pub fn location(&self) -> String {
        let state = self.state.clone().map(|state| ("state", state));
        with_params(&self.uri, state.as_slice())
    }
}

/// Whether the session of the browser ends at once, after a question, or not at all.
pub fn step(session: Option<(UserId, SessionId)>, hint: Option<&Hint>) -> Step {
    match (session, hint) {
        (None, _) => Step::Nothing,
        (Some((user_id, session_id)), Some(hint))
            if hint.user_id == user_id && hint.session_id == Some(session_id) =>
        {
            Step::End
        }
        // §2: the person must be asked if there is no hint, or it does not belong to the current session.
        (Some(_), _) => Step::Ask,
    }
}

/// The claims of a logout token (Back-Channel Logout §2.4): `sub` always, `sid` when one session has ended rather than all
/// of the person's, and no `nonce`, so that it never passes for an ID token.
pub fn logout_token_claims(
    issuer: &str,
    client_id: &ClientId,
    user_id: UserId,
    session_id: Option<SessionId>,
    jti: &str,
    now: i64,
) -> Map<String, Value> {
    let mut claims = Map::new();
    claims.insert("iss".to_owned(), issuer.into());
    claims.insert("aud".to_owned(), client_id.as_str().into());
    claims.insert("iat".to_owned(), now.into());
    claims.insert("exp".to_owned(), (now + LOGOUT_TOKEN_TTL_SECS).into());
    claims.insert("jti".to_owned(), jti.into());
    claims.insert("events".to_owned(), json!({ LOGOUT_EVENT: {} }));
    claims.insert("sub".to_owned(), user_id.to_string().into());
    if let Some(session_id) = session_id {
        claims.insert("sid".to_owned(), session_id.to_string().into());
    }
    claims
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::protocol::fixtures::{client, params, user};

    const AFTER: &str = "https://app.example/bye";

    fn app() -> Client {
        Client {
            post_logout_redirect_uris: vec![AFTER.to_owned(), format!("{AFTER}?from=op")],
            ..client()
        }
    }

    fn redirect(pairs: &[(&str, &str)], client: Option<&Client>) -> Result<Option<String>, OAuthRefusal> {
        let params = params(pairs);
        let params = LogoutParams::parse(&params)?;
        Ok(post_logout_redirect(&params, client)?.map(|redirect| redirect.location()))
    }

    fn session(number: u128) -> SessionId {
        SessionId(Uuid::from_u128(number))
    }

    fn hint(user_id: UserId, session_id: Option<SessionId>) -> Hint {
        Hint {
            client_id: ClientId("app".to_owned()),
            user_id,
            session_id,
        }
    }

    /// RP-Initiated Logout §3.
    #[test]
    fn a_registered_uri_gets_state_back_and_nothing_else() {
        let uri = ("post_logout_redirect_uri", AFTER);
        assert_eq!(redirect(&[uri], Some(&app())), Ok(Some(AFTER.to_owned())));
        assert_eq!(
            redirect(&[uri, ("state", "a b&c")], Some(&app())),
            Ok(Some(format!("{AFTER}?state=a%20b%26c")))
        );
        let with_query = format!("{AFTER}?from=op");
        assert_eq!(
            redirect(
                &[("post_logout_redirect_uri", with_query.as_str()), ("state", "x")],
                Some(&app())
            ),
            Ok(Some(format!("{AFTER}?from=op&state=x")))
        );
        assert_eq!(redirect(&[("state", "x")], Some(&app())), Ok(None));
    }

    /// RP-Initiated Logout §3: an exact match, for this client.
    #[test]
    fn every_other_uri_is_refused() {
        for uri in [
            "https://app.example/bye/",
            "https://app.example/bye?foo=bar",
            "https://app.example/bye#x",
            "https://APP.example/bye",
            "https://app.example:443/bye",
            "https://app.example/BYE",
            "https://app.example/cb",
            "https://evil.example/",
            "//app.example/bye",
            "javascript:alert(1)",
        ] {
            assert!(
                redirect(&[("post_logout_redirect_uri", uri)], Some(&app())).is_err(),
                "{uri}"
            );
        }
        assert!(redirect(&[("post_logout_redirect_uri", AFTER)], Some(&client())).is_err());
        assert!(redirect(&[("post_logout_redirect_uri", AFTER)], None).is_err());
    }

    #[test]
    fn a_parameter_that_is_sent_twice_is_refused() {
        for name in PARAMETERS {
            let params = params(&[(name, "a"), (name, "a")]);
            assert!(LogoutParams::parse(&params).is_err(), "{name}");
        }
        let long = "x".repeat(MAX_STATE_BYTES + 1);
        assert!(LogoutParams::parse(&params(&[("state", &long)])).is_err());
    }

    /// RP-Initiated Logout §2: `client_id` and the client of the hint have to be the same.
    #[test]
    fn the_hint_and_client_id_have_to_name_one_client() {
        let (app, other) = (ClientId("app".to_owned()), ClientId("other".to_owned()));
        let hint = hint(user(1), None);
        assert_eq!(asking_client(Some(&app), Some(&hint)), Ok(Some(&app)));
        assert_eq!(asking_client(None, Some(&hint)), Ok(Some(&app)));
        assert_eq!(asking_client(Some(&other), None), Ok(Some(&other)));
        assert_eq!(asking_client(None, None), Ok(None));
        assert!(asking_client(Some(&other), Some(&hint)).is_err());
    }

    /// RP-Initiated Logout §2, as a table.
    #[test]
    fn only_a_hint_of_this_very_session_ends_it_without_a_question() {
        let here = Some((user(1), session(1)));
        let own = hint(user(1), Some(session(1)));
        for (expected, session, hint) in [
            (Step::Nothing, None, None),
            (Step::Nothing, None, Some(&own)),
            (Step::End, here, Some(&own)),
            (Step::Ask, here, None),
            (Step::Ask, here, Some(&hint(user(1), Some(session(2))))),
            (Step::Ask, here, Some(&hint(user(2), Some(session(1))))),
            (Step::Ask, here, Some(&hint(user(1), None))),
        ] {
            assert_eq!(step(session, hint), expected, "{session:?} {hint:?}");
        }
    }

    /// Back-Channel Logout §2.4.
    #[test]
    fn a_logout_token_has_the_event_and_no_nonce_and_lives_two_minutes() {
        let app = ClientId("app".to_owned());
        let claims = logout_token_claims("https://op.example", &app, user(1), Some(session(2)), "id", 1000);
        assert_eq!(
            Value::Object(claims),
            json!({
                "iss": "https://op.example", "aud": "app", "iat": 1000, "exp": 1120, "jti": "id",
                "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
                "sub": user(1).to_string(), "sid": session(2).to_string(),
            })
        );
        let everywhere = logout_token_claims("https://op.example", &app, user(1), None, "id", 1000);
        assert!(!everywhere.contains_key("sid"));
    }

    proptest! {
        /// Whatever comes in, nobody is sent anywhere but to what is registered.
        #[test]
        fn nothing_leads_anywhere_else(uri in "(https://app\\.example/bye|//|\\?|&|#|@|evil\\.example|state=x|\\\\|/){0,6}", state in "[^\\x00]{1,30}") {
            let pairs = [("post_logout_redirect_uri", uri.as_str()), ("state", state.as_str())];
            if let Ok(Some(location)) = redirect(&pairs, Some(&app())) {
                prop_assert!(app().post_logout_redirect_uris.contains(&uri));
                let read: Vec<_> = url::Url::parse(&location).unwrap().query_pairs().into_owned().collect();
                prop_assert_eq!(read.last(), Some(&("state".to_owned(), state)));
            }
        }
    }
}
