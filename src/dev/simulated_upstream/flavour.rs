//! What is known of each real provider, as data: paths, what it honours, what it leaves out.

/// Which provider is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// A plain OpenID Connect provider that honours everything.
    Oidc,
    /// A plain OAuth 2.0 provider: no ID token, a JSON document about the person.
    OAuth2,
    /// Google: `hd` for Workspace people, no `auth_time`, never asks for the password on `prompt=login`.
    Google,
    /// GitHub: OAuth 2.0 with habits of its own.
    GitHub,
    /// GitLab.
    GitLab,
    /// Microsoft: the issuer of the common discovery document is a template; `email` proves nothing.
    Microsoft,
    /// Discord: OAuth 2.0, ids are strings of digits.
    Discord,
    /// Apple: form_post, signed client secrets, the name only the first time.
    Apple,
}

/// How `email_verified` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EmailVerified {
    Boolean,
    Text,
    Absent,
}

/// The habits of one provider.
#[derive(Debug)]
pub(super) struct Habits {
    /// What people read on its pages.
    pub(super) display_name: &'static str,
    pub(super) discovery_path: Option<&'static str>,
    pub(super) authorize_path: &'static str,
    pub(super) token_path: &'static str,
    pub(super) userinfo_path: Option<&'static str>,
    pub(super) jwks_path: Option<&'static str>,
    /// Whether the token response holds an ID token.
    pub(super) id_token: bool,
    /// The `prompt` values that have an effect; others are ignored.
    pub(super) prompts: &'static [&'static str],
    pub(super) max_age: bool,
    /// Whether it shows a page even to somebody who is signed in.
    pub(super) always_asks: bool,
    /// Whether ID tokens hold `auth_time`, `sid`, `acr` and `amr`.
    pub(super) session_claims: bool,
    pub(super) email_verified: EmailVerified,
    /// Scopes that are only granted when the response is a form_post.
    pub(super) form_post_scopes: &'static [&'static str],
    pub(super) response_iss: bool,
    /// Whether published keys name their `alg`.
    pub(super) jwk_alg: bool,
    pub(super) token_auth_methods: &'static [&'static str],
    pub(super) scopes: &'static [&'static str],
    /// `error` when the person declines.
    pub(super) cancelled: &'static str,
}

const BOTH: &[&str] = &["client_secret_basic", "client_secret_post"];

const OIDC: Habits = Habits {
    display_name: "Simulated provider",
    discovery_path: Some("/.well-known/openid-configuration"),
    authorize_path: "/authorize",
    token_path: "/token",
    userinfo_path: Some("/userinfo"),
    jwks_path: Some("/jwks"),
    id_token: true,
    prompts: &["none", "login", "consent", "select_account"],
    max_age: true,
    always_asks: false,
    session_claims: true,
    email_verified: EmailVerified::Boolean,
    form_post_scopes: &[],
    response_iss: true,
    jwk_alg: true,
    token_auth_methods: BOTH,
    scopes: &["openid", "profile", "email", "address", "phone"],
    cancelled: "access_denied",
};

const OAUTH2: Habits = Habits {
    display_name: "Simulated OAuth 2.0 provider",
    discovery_path: None,
    jwks_path: None,
    id_token: false,
    prompts: &[],
    max_age: false,
    session_claims: false,
    response_iss: false,
    scopes: &["profile", "email"],
    ..OIDC
};

/// <https://developers.google.com/identity/openid-connect/openid-connect>: `prompt` is none, consent or
/// select_account; `auth_time` is not among the claims of an ordinary ID token.
const GOOGLE: Habits = Habits {
    display_name: "Simulated Google",
    authorize_path: "/o/oauth2/v2/auth",
    token_path: "/token",
    userinfo_path: Some("/v1/userinfo"),
    jwks_path: Some("/oauth2/v3/certs"),
    prompts: &["none", "consent", "select_account"],
    max_age: false,
    session_claims: false,
    response_iss: false,
    scopes: &["openid", "email", "profile"],
    ..OIDC
};

/// <https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps>
const GITHUB: Habits = Habits {
    display_name: "Simulated GitHub",
    authorize_path: "/login/oauth/authorize",
    token_path: "/login/oauth/access_token",
    userinfo_path: Some("/user"),
    scopes: &["read:user", "user:email", "read:org"],
    ..OAUTH2
};

/// <https://docs.gitlab.com/integration/openid_connect_provider/>
const GITLAB: Habits = Habits {
    display_name: "Simulated GitLab",
    authorize_path: "/oauth/authorize",
    token_path: "/oauth/token",
    userinfo_path: Some("/oauth/userinfo"),
    jwks_path: Some("/oauth/discovery/keys"),
    response_iss: false,
    scopes: &["openid", "profile", "email"],
    ..OIDC
};

/// <https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc>; ID token claims in `id-token-claims-reference`.
const MICROSOFT: Habits = Habits {
    display_name: "Simulated Microsoft",
    discovery_path: Some("/{tenant}/v2.0/.well-known/openid-configuration"),
    authorize_path: "/{tenant}/oauth2/v2.0/authorize",
    token_path: "/{tenant}/oauth2/v2.0/token",
    userinfo_path: Some("/oidc/userinfo"),
    jwks_path: Some("/{tenant}/discovery/v2.0/keys"),
    session_claims: false,
    email_verified: EmailVerified::Absent,
    response_iss: false,
    jwk_alg: false,
    scopes: &["openid", "profile", "email", "offline_access"],
    ..OIDC
};

/// <https://discord.com/developers/docs/topics/oauth2>
const DISCORD: Habits = Habits {
    display_name: "Simulated Discord",
    authorize_path: "/oauth2/authorize",
    token_path: "/oauth2/token",
    userinfo_path: Some("/users/@me"),
    prompts: &["none", "consent"],
    scopes: &["identify", "email"],
    ..OAUTH2
};

/// <https://developer.apple.com/documentation/signinwithapplerestapi>
const APPLE: Habits = Habits {
    display_name: "Simulated Apple",
    authorize_path: "/auth/authorize",
    token_path: "/auth/token",
    userinfo_path: None,
    jwks_path: Some("/auth/keys"),
    prompts: &[],
    max_age: false,
    always_asks: true,
    session_claims: false,
    email_verified: EmailVerified::Text,
    form_post_scopes: &["name", "email"],
    response_iss: false,
    token_auth_methods: &["client_secret_post"],
    scopes: &["openid", "email", "name"],
    cancelled: "user_cancelled_authorize",
    ..OIDC
};

impl Flavour {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Oidc,
        Self::OAuth2,
        Self::Google,
        Self::GitHub,
        Self::GitLab,
        Self::Microsoft,
        Self::Discord,
        Self::Apple,
    ];

    pub(super) fn habits(self) -> &'static Habits {
        match self {
            Self::Oidc => &OIDC,
            Self::OAuth2 => &OAUTH2,
            Self::Google => &GOOGLE,
            Self::GitHub => &GITHUB,
            Self::GitLab => &GITLAB,
            Self::Microsoft => &MICROSOFT,
            Self::Discord => &DISCORD,
            Self::Apple => &APPLE,
        }
    }
}
