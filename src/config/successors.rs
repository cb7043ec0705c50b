//! Keys of older versions, and what took their place.

const SUCCESSORS: &[(&str, &str)] = &[
    (
        "server.public_url",
        "the public URL is `jwt.issuer` now, without a trailing slash",
    ),
    (
        "server.base_url",
        "the public URL is `jwt.issuer` now, without a trailing slash",
    ),
    (
        "server.allowed_origins",
        "write `server.cors_origins` for apps, `server.first_party_origins` for your own pages",
    ),
    (
        "server.cookie_name",
        "write `server.cookie_prefix`; the rest of each cookie's name is fixed",
    ),
    (
        "jwt.algorithm",
        "each `[[jwt.keys]]` entry has its own `algorithm` now",
    ),
    ("jwt.kid", "each `[[jwt.keys]]` entry has its own `kid` now"),
    (
        "jwt.code_ttl_secs",
        "the key is `jwt.authorization_code_ttl_secs` now",
    ),
    (
        "oauth.google",
        "the table is `[oauth.providers.google]` now, with `preset = \"google\"`",
    ),
    (
        "oauth.github",
        "the table is `[oauth.providers.github]` now, with `preset = \"github\"`",
    ),
    (
        "oauth.clients",
        "clients are in the database now: `riley-auth register-client`",
    ),
    ("oauth.consent_page_url", "the key is `oauth.consent_url` now"),
];

/// The sentence that names the successor of the key at `path`, if it is one of an older version.
pub(super) fn of(path: &str) -> Option<&'static str> {
    SUCCESSORS
        .iter()
        .find(|(old, _)| *old == path)
        .map(|(_, sentence)| *sentence)
}
