//! What can go wrong at an upstream, by name.

/// One way in which the simulated upstream lies, breaks or is slow.
///
/// Switched on for everybody by [`Simulation::misbehave`](super::Simulation::misbehave), for the next time by
/// [`misbehave_once`](super::Simulation::misbehave_once), or for one sign-in by the field `misbehaviour` of its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Misbehaviour {
    /// `email_verified` is false.
    UnverifiedEmail,
    /// `email_verified` is the string `"true"`.
    EmailVerifiedAsString,
    /// Nothing is said about the e-mail address.
    NoEmail,
    /// Requests from servers wait for `Options::delay`.
    Slow,
    /// The token endpoint answers 500.
    TokenFails,
    /// Discovery answers 500.
    DiscoveryFails,
    /// UserInfo answers 500.
    UserinfoFails,
    /// Of GitHub only: the list of e-mail addresses answers 500.
    EmailsFail,
    /// The key set answers 500.
    JwksFails,
    /// The ID token holds another nonce.
    WrongNonce,
    /// The ID token holds no nonce.
    MissingNonce,
    /// The ID token names another issuer.
    WrongIssuer,
    /// The ID token is meant for another client.
    WrongAudience,
    /// The ID token holds several audiences and names another client as `azp`.
    WrongAuthorizedParty,
    /// The ID token expired an hour ago.
    ExpiredIdToken,
    /// The ID token was issued an hour from now.
    FutureIat,
    /// The ID token is unsigned.
    AlgNone,
    /// The ID token is signed by HS256 with the client secret.
    SignedWithClientSecret,
    /// The ID token is signed by a key that is not published.
    UnpublishedKey,
    /// A new key signs from the next ID token on, and is published beside the old one.
    RotatedKey,
    /// The token response holds no ID token.
    MissingIdToken,
    /// The person declined.
    Cancelled,
    /// The authorization fails, and its description is an attack on whoever shows it.
    HostileErrorDescription,
    /// The authorization response names another `iss` (RFC 9207).
    WrongIssParameter,
    /// The authorization response names no `iss`.
    MissingIssParameter,
    /// The authorization response holds another `state`.
    WrongState,
    /// UserInfo speaks of somebody else.
    UserinfoOtherSubject,
    /// The subject is a JSON integer.
    SubjectAsNumber,
    /// The subject is a JSON number with a fraction.
    SubjectAsFloat,
    /// The subject is the empty string.
    SubjectEmpty,
    /// The subject is a JSON object.
    SubjectAsObject,
    /// There is no subject.
    SubjectMissing,
    /// The discovery document names another issuer.
    DiscoveryOtherIssuer,
    /// The token endpoint answers 307 to another address, which would take the client secret along.
    TokenRedirects,
    /// Answers to servers are larger than any client should read.
    HugeBody,
    /// Somebody who is signed in is never asked again, and `auth_time` stays what it was.
    IgnoresReauthentication,
    /// The token endpoint answers 200 with a page.
    TokenNotJson,
    /// The token endpoint refuses every code.
    CodeRefused,
}

impl Misbehaviour {
    /// All of them with the names that forms use.
    pub const ALL: &[(&str, Self)] = &[
        ("unverified-email", Self::UnverifiedEmail),
        ("email-verified-as-string", Self::EmailVerifiedAsString),
        ("no-email", Self::NoEmail),
        ("slow", Self::Slow),
        ("token-fails", Self::TokenFails),
        ("discovery-fails", Self::DiscoveryFails),
        ("userinfo-fails", Self::UserinfoFails),
        ("emails-fail", Self::EmailsFail),
        ("jwks-fails", Self::JwksFails),
        ("wrong-nonce", Self::WrongNonce),
        ("missing-nonce", Self::MissingNonce),
        ("wrong-issuer", Self::WrongIssuer),
        ("wrong-audience", Self::WrongAudience),
        ("wrong-authorized-party", Self::WrongAuthorizedParty),
        ("expired-id-token", Self::ExpiredIdToken),
        ("future-iat", Self::FutureIat),
        ("alg-none", Self::AlgNone),
        ("signed-with-client-secret", Self::SignedWithClientSecret),
        ("unpublished-key", Self::UnpublishedKey),
        ("rotated-key", Self::RotatedKey),
        ("missing-id-token", Self::MissingIdToken),
        ("cancelled", Self::Cancelled),
        ("hostile-error-description", Self::HostileErrorDescription),
        ("wrong-iss-parameter", Self::WrongIssParameter),
        ("missing-iss-parameter", Self::MissingIssParameter),
        ("wrong-state", Self::WrongState),
        ("userinfo-other-subject", Self::UserinfoOtherSubject),
        ("subject-as-number", Self::SubjectAsNumber),
        ("subject-as-float", Self::SubjectAsFloat),
        ("subject-empty", Self::SubjectEmpty),
        ("subject-as-object", Self::SubjectAsObject),
        ("subject-missing", Self::SubjectMissing),
        ("discovery-other-issuer", Self::DiscoveryOtherIssuer),
        ("token-redirects", Self::TokenRedirects),
        ("huge-body", Self::HugeBody),
        ("ignores-reauthentication", Self::IgnoresReauthentication),
        ("token-not-json", Self::TokenNotJson),
        ("code-refused", Self::CodeRefused),
    ];

    /// The misbehaviour of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, misbehaviour)| *misbehaviour)
    }

    /// Whether it can be chosen for a single sign-in: the others concern requests that belong to nobody, or come
    /// before the person is asked.
    pub fn is_per_sign_in(self) -> bool {
        !matches!(
            self,
            Self::DiscoveryFails
                | Self::JwksFails
                | Self::DiscoveryOtherIssuer
                | Self::IgnoresReauthentication
        )
    }
}
