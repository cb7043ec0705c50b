//! The configuration: where it is found, what is refused and where the finding points.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use riley_auth::config::finding::{ConfigFindings, Finding, Severity};
use riley_auth::config::{Config, LoadedConfig, Source};
use rstest::rstest;
use secrecy::ExposeSecret as _;

/// The least that starts, on lines 1 to 6.
const LEAST: &str = "\
database = { url = \"postgres://localhost/riley\", secret_key = \"a-secret-key-of-the-tests-0123456789\" }
# its own line
[jwt]
issuer = \"https://auth.example.com\"
keys = [{ algorithm = \"ES256\", private_key_path = \"keys/a.pem\" }]
";

fn source(text: &str) -> Source {
    Source {
        path: Some(PathBuf::from("/etc/x/riley-auth.toml")),
        text: text.to_owned(),
        ..Source::default()
    }
}

fn with_environment(text: &str, variables: &[(&str, &str)]) -> Source {
    let environment: BTreeMap<String, String> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Source {
        environment,
        ..source(text)
    }
}

fn loads(text: &str) -> LoadedConfig {
    source(text)
        .load()
        .unwrap_or_else(|findings| panic!("{findings}"))
}

fn findings(source: &Source) -> Vec<Finding> {
    match source.load() {
        Ok(loaded) => loaded.warnings,
        Err(ConfigFindings(findings)) => findings,
    }
}

/// `severity key line:column problem` of every finding but the warning that nobody can sign in.
fn summary(text: &str) -> Vec<String> {
    findings(&source(text))
        .iter()
        .filter(|finding| finding.key != "oauth.providers")
        .map(line)
        .collect()
}

fn line(finding: &Finding) -> String {
    let severity = if finding.severity == Severity::Error {
        ""
    } else {
        "warning "
    };
    let position = finding.position.as_ref();
    let place = position.map_or_else(String::new, |at| format!("{}:{} ", at.line, at.column));
    format!("{severity}{} {place}{}", finding.key, finding.problem)
}

#[test]
fn the_least_configuration_loads_with_every_default() {
    let config = loads(LEAST).config;
    assert_eq!(config.server.port, 8081);
    assert_eq!(config.server.cookie_prefix, "auth");
    assert_eq!(config.jwt.access_token_ttl_secs, 900);
    assert_eq!(config.jwt.refresh_token_ttl_secs, 2_592_000);
    assert_eq!(config.jwt.authorization_code_ttl_secs, 300);
    assert_eq!(config.jwt.jwks_cache_max_age_secs, 3600);
    let limits = &config.rate_limiting;
    assert!(limits.enabled && config.metrics.enabled);
    let tiers = [
        limits.auth_per_minute,
        limits.standard_per_minute,
        limits.public_per_minute,
    ];
    assert_eq!((tiers, limits.client_per_minute), ([15, 60, 300], 0));
    assert_eq!(config.issuer(), "https://auth.example.com");
    assert_eq!(config.issuer_path(), "");
    assert!(!config.issuer_is_loopback_http());
}

#[test]
fn relative_key_paths_start_at_the_configuration_file() {
    let keys = loads(LEAST).config.jwt.key_list();
    assert_eq!(
        keys[0].private_key_path.as_deref(),
        Some(Path::new("/etc/x/keys/a.pem"))
    );
}

#[test]
fn the_old_flat_key_fields_are_one_rs256_key() {
    let text = LEAST.replace(
        "keys = [{ algorithm = \"ES256\", private_key_path = \"keys/a.pem\" }]",
        "private_key_path = \"a.pem\"\npublic_key_path = \"a.pub\"",
    );
    let keys = loads(&text).config.jwt.key_list();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].algorithm.as_str(), "RS256");
    assert_eq!(
        keys[0].public_key_path.as_deref(),
        Some(Path::new("/etc/x/a.pub"))
    );
}

#[rstest]
#[case("http://localhost:8081", true, "http://localhost:8081", "")]
#[case("http://127.0.0.1:8081/identity", true, "http://127.0.0.1:8081", "/identity")]
#[case("https://example.com/a/b", false, "https://example.com", "/a/b")]
#[case("https://localhost:8443", false, "https://localhost:8443", "")]
fn the_issuer_is_taken_apart(
    #[case] issuer: &str,
    #[case] loopback: bool,
    #[case] origin: &str,
    #[case] path: &str,
) {
    let config = loads(&LEAST.replace("https://auth.example.com", issuer)).config;
    assert_eq!(config.issuer_is_loopback_http(), loopback);
    assert_eq!(config.issuer_origin(), origin);
    assert_eq!(config.issuer_path(), path);
}

/// The second URL is judged as the first one is, and stands for it where it is not written.
#[test]
fn the_direct_url_is_a_postgres_url_and_the_other_one_by_default() {
    use riley_auth::config::database::Route;
    let url = "url = \"postgres://localhost/riley\"";
    for wrong in [
        "localhost:5432",
        "http://localhost/riley",
        "postgres://localhost:port/riley",
    ] {
        let text = LEAST.replace(url, &format!("{url}, direct_url = \"{wrong}\""));
        let found = summary(&text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("database.direct_url 1:") && found[0].ends_with("this is no PostgreSQL URL"),
            "{found:?}"
        );
    }
    let way = |text: &str, route| {
        let config = loads(text).config.database;
        let (key, url) = config.url_by(route);
        (key, url.expose_secret().to_owned())
    };
    let one = ("database.url", "postgres://localhost/riley".to_owned());
    assert_eq!(way(LEAST, Route::Pooled), one);
    assert_eq!(way(LEAST, Route::Direct), one);
    let text = LEAST.replace(url, &format!("{url}, direct_url = \"postgresql:///riley\""));
    assert_eq!(way(&text, Route::Pooled), one);
    let other = ("database.direct_url", "postgresql:///riley".to_owned());
    assert_eq!(way(&text, Route::Direct), other);
}

#[test]
fn an_ipv6_address_is_listened_on_in_brackets() {
    let config = loads(&format!("{LEAST}[server]\nhost = \"::1\"\n")).config;
    assert_eq!(config.server.listen_address(), "[::1]:8081");
}

#[test]
fn defined_scopes_are_the_standard_ones_and_the_deployers() {
    let config = loads(&format!(
        "{LEAST}[scopes.\"notes:read\"]\ndescription = \"Read your notes\"\n"
    ))
    .config;
    assert!(config.defined_scopes().contains("notes:read"));
    assert!(config.defined_scopes().contains("offline_access"));
    assert!(!config.defined_scopes().contains("notes:write"));
}

#[test]
fn everything_that_is_wrong_is_told_at_once_in_the_order_of_the_file() {
    let text = "\
[server]
prot = 8081
port = \"8081\"
cookie_prefix = \"a b\"
[database]
url = 5
[jwt]
issuer = \"https://auth.example.com/\"
authorization_code_ttl_secs = 5
[[jwt.keys]]
algorithm = \"es256\"
private_key_path = \"a\"
";
    assert_eq!(
        summary(text),
        [
            "server.prot 2:1 nobody knows this key",
            "server.port 3:8 this must be an integer and is a string",
            "server.cookie_prefix 4:17 the prefix is not 1 to 32 characters out of A-Z a-z 0-9 _ -",
            "database.secret_key 5:2 this key is required and missing",
            "database.url 6:7 this must be a string and is an integer",
            "jwt.issuer 8:10 the issuer ends in a slash",
            "jwt.authorization_code_ttl_secs 9:31 the number is out of range (10 to 600)",
            "jwt.keys[0].algorithm 11:13 the value is none of those that this key knows",
        ]
    );
}

#[test]
fn an_unknown_key_is_answered_with_the_one_that_was_meant() {
    let found = findings(&source(&format!("{LEAST}[server]\ncookie_prefx = \"x\"\n")));
    let finding = found
        .iter()
        .find(|finding| finding.key == "server.cookie_prefx")
        .unwrap();
    assert_eq!(finding.mend, "did you mean `cookie_prefix`?");
}

#[test]
fn a_key_of_an_older_version_is_refused_with_its_successor() {
    let found = findings(&source(&format!("{LEAST}[server]\npublic_url = \"https://x\"\n")));
    let finding = found
        .iter()
        .find(|finding| finding.key == "server.public_url")
        .unwrap();
    assert!(finding.is_error());
    assert!(finding.mend.contains("`jwt.issuer`"), "{}", finding.mend);
}

#[test]
fn missing_keys_are_named_each() {
    assert_eq!(
        summary(""),
        [
            "database.url 1:1 this key is required and missing",
            "database.secret_key 1:1 this key is required and missing",
            "jwt.issuer 1:1 this key is required and missing",
            "jwt.keys 1:1 at least one key is required",
        ]
    );
}

#[test]
fn a_finding_is_printed_like_a_compilers() {
    let found = findings(&source(&format!("{LEAST}[server]\nport = 70000\n")));
    let finding = found.iter().find(|finding| finding.key == "server.port").unwrap();
    assert_eq!(
        finding.to_string(),
        "\
error: server.port: the number is out of range (0 to 65535)
 --> /etc/x/riley-auth.toml:7:8
  |
7 | port = 70000
  |        ^^^^^
  = write a number from 0 to 65535"
    );
}

#[test]
fn a_syntax_error_has_its_place_and_does_not_show_a_value() {
    let found = findings(&source("[database]\nurl = \"postgres://u:hunter2@h/d\n"));
    let position = found[0].position.as_ref().unwrap();
    assert_eq!(position.line, 2);
    assert!(!format!("{}", ConfigFindings(found)).contains("hunter2"));
}

/// Every rule of a value: the lines added to the least configuration (its own are 1 to 5), and the one finding.
#[rstest]
#[case(
    "[server]\nhost = \"http://x\"",
    "server.host 7:8 this is no address to listen on"
)]
#[case(
    "[server]\ncookie_domain = \"other.com\"",
    "server.cookie_domain 7:17 the issuer's host is not below this domain, so browsers would drop the cookies"
)]
#[case(
    "[server]\ncookie_domain = \"h.example.com\"",
    "server.cookie_domain 7:17 the issuer's host is not below this domain, so browsers would drop the cookies"
)]
#[case(
    "[server]\ncookie_domain = \"com\"",
    "server.cookie_domain 7:17 the issuer's host is not below this domain, so browsers would drop the cookies"
)]
#[case(
    "[server]\ncookie_domain = \".example.com\"",
    "server.cookie_domain 7:17 the domain starts with a dot"
)]
#[case(
    "[server]\ncors_origins = [\"https://a.com\", \"https://b.com/\"]",
    "server.cors_origins[1] 7:34 this is no origin as browsers send it"
)]
#[case(
    "[server]\ncors_origins = [\"https://A.com\"]",
    "server.cors_origins[0] 7:17 this is no origin as browsers send it"
)]
#[case(
    "[server]\ncors_origins = [\"https://a.com:443\"]",
    "server.cors_origins[0] 7:17 this is no origin as browsers send it"
)]
#[case(
    "[server]\ncors_origins = [\"*\"]",
    "warning server.cors_origins[0] 7:17 every site's scripts may call the token endpoint, UserInfo, revocation and introspection"
)]
#[case(
    "[server]\ncors_origins = [\"*\", \"https://a.com\"]",
    "server.cors_origins[0] 7:17 `*` stands among other origins"
)]
#[case(
    "[server]\nfirst_party_origins = [\"*\"]",
    "server.first_party_origins[0] 7:24 `*` would let every site act for signed-in people"
)]
#[case(
    "[server]\ncookie_same_site = \"none\"",
    "warning server.cookie_same_site 7:20 other sites' requests carry the session cookies"
)]
#[case(
    "[server]\ncookie_same_site = \"strict\"",
    "server.cookie_same_site 7:20 the value is none of those that this key knows"
)]
#[case(
    "[server]\nshutdown_grace_secs = 601",
    "server.shutdown_grace_secs 7:23 the number is out of range (0 to 600)"
)]
#[case(
    "[server]\nport = -1",
    "server.port 7:8 the number is out of range (0 to 65535)"
)]
#[case(
    "[usernames]\nmin_length = 30",
    "usernames.max_length 6:2 the greatest length is below the least"
)]
#[case(
    "[usernames]\nmin_length = 0",
    "usernames.min_length 7:14 the number is out of range (1 to 64)"
)]
#[case(
    "[usernames]\npattern = \"(\"",
    "usernames.pattern 7:11 this is no regular expression"
)]
#[case(
    "[claims]\npassthrough = [\"locale\", \"shoe_size\"]",
    "claims.passthrough[1] 7:26 this is no standard claim that can be passed on"
)]
#[case(
    "[claims]\npassthrough = [\"locale\", \"locale\"]",
    "claims.passthrough[1] 7:26 the claim is listed twice"
)]
#[case(
    "[scopes.openid]\ndescription = \"x\"",
    "scopes.openid 6:9 OpenID Connect defines this scope already"
)]
#[case(
    "[scopes.\"a b\"]\ndescription = \"x\"",
    "scopes.\"a b\" 6:9 a scope's name is made of printable ASCII without spaces, quotes and backslashes (RFC 6749 §3.3)"
)]
#[case(
    "[scopes.notes]\ndescription = \" \"",
    "scopes.notes.description 7:15 the description is empty"
)]
#[case(
    "[maintenance]\ninterval_secs = 0",
    "maintenance.interval_secs 7:17 the number is out of range (1 to 86400)"
)]
#[case(
    "[webhooks]\nstuck_after_secs = 59",
    "webhooks.stuck_after_secs 7:20 the number is out of range (60 to 86400)"
)]
#[case(
    "[server]\ntrusted_proxies = [\"10.0.0.0/33\"]\nbehind_proxy = true",
    "server.trusted_proxies[0] 7:20 this is no network and no address"
)]
#[case(
    "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"::/0\"]\nbehind_proxy = true",
    "server.trusted_proxies[1] 7:34 this trusts every address, so anybody could write another's"
)]
#[case(
    "[server]\ntrusted_proxies = [\"10.0.0.0/8\"]",
    "server.trusted_proxies 7:19 proxies are listed, but `server.behind_proxy` is false"
)]
#[case(
    "[rate_limiting]\nauth_per_minute = 0",
    "rate_limiting.auth_per_minute 7:19 the number is out of range (1 to 1000000)"
)]
#[case(
    "[rate_limiting]\nredis_url = \"localhost:6379\"",
    "rate_limiting.redis_url 7:13 this is no URL of a Redis or Valkey server"
)]
#[case(
    "[metrics]\nbearer_token = \"fifteen-bytes-x\"",
    "metrics.bearer_token 7:16 the token is shorter than 16 bytes"
)]
#[case(
    "[metrics]\nbearer_token = \"sixteen bytes xyz\"",
    "metrics.bearer_token 7:16 the token holds characters that a header cannot carry"
)]
#[case(
    "[metrics]\nlisten = \"9091\"",
    "metrics.listen 7:10 this is no address with a port"
)]
#[case("[log]\nlevel = \"riley=loud\"", "log.level 7:9 this is no filter")]
#[case(
    "[telemetry]\nheaders = \"authorization\"",
    "telemetry.headers 7:11 these are no headers"
)]
#[case(
    "[telemetry]\nsample_percent = 101",
    "telemetry.sample_percent 7:18 the number is out of range (0 to 100)"
)]
#[case(
    "[oauth]\nlogin_url = \"http://pages.example.com/login\"",
    "oauth.login_url 7:13 a page must be https, or http on loopback"
)]
#[case(
    "[oauth]\nlogin_url = \"/login\"",
    "oauth.login_url 7:13 this is no URL: relative URL without a base"
)]
#[case(
    "[oauth]\ndefault_provider = \"google\"",
    "oauth.default_provider 7:20 there is no such provider"
)]
#[case("[oauth]\ndefault_acr = \"\"", "oauth.default_acr 7:15 the acr is empty")]
#[case(
    "[oauth]\nreauth = \"proven\"\n[oauth.providers.github]\npreset = \"github\"\nclient_id = \"a\"\nclient_secret = \"b\"",
    "warning oauth.reauth 7:10 no provider can prove a new login by an auth_time, so an app that demands one gets login_required every time"
)]
#[case(
    "[oauth]\nrefresh_reuse_leeway_secs = 301",
    "oauth.refresh_reuse_leeway_secs 7:29 the number is out of range (0 to 300)"
)]
#[case(
    "[oauth]\nonboarding = \"promt\"",
    "oauth.onboarding 7:14 the value is none of those that this key knows"
)]
fn a_rule_is_broken(#[case] lines: &str, #[case] expected: &str) {
    assert_eq!(summary(&format!("{LEAST}{lines}\n")), [expected]);
}

/// Whoever names a collector to a program that cannot talk to it is told so, and how to get one that can.
#[cfg(not(feature = "opentelemetry"))]
#[test]
fn a_collector_needs_a_program_that_can_export() {
    let found = findings(&source(&format!(
        "{LEAST}[telemetry]\nendpoint = \"http://127.0.0.1:4318\"\n"
    )));
    let finding = found
        .iter()
        .find(|finding| finding.key == "telemetry.endpoint")
        .unwrap();
    assert!(finding.is_error());
    assert!(
        finding.problem.contains("built without OpenTelemetry"),
        "{finding}"
    );
    assert!(finding.mend.contains("--features opentelemetry"), "{finding}");
}

/// Rules of the issuer (OpenID Connect Discovery 1.0 §3) and of lifetimes and keys, in `[jwt]`.
#[rstest]
#[case(
    "issuer = \"http://auth.example.com\"",
    "jwt.issuer 4:10 the issuer must be https, or http on loopback"
)]
#[case(
    "issuer = \"https://auth.example.com?a=b\"",
    "jwt.issuer 4:10 the issuer has a query or a fragment"
)]
#[case(
    "issuer = \"https://auth.example.com#a\"",
    "jwt.issuer 4:10 the issuer has a query or a fragment"
)]
#[case(
    "issuer = \"https://u:p@auth.example.com\"",
    "jwt.issuer 4:10 the issuer has a user name or password"
)]
#[case(
    "issuer = \"https://auth.example.com/x/\"",
    "jwt.issuer 4:10 the issuer ends in a slash"
)]
#[case(
    "issuer = \"https://AUTH.example.com\"",
    "jwt.issuer 4:10 the issuer is not in its normal spelling"
)]
#[case(
    "issuer = \"https://auth.example.com:443\"",
    "jwt.issuer 4:10 the issuer is not in its normal spelling"
)]
#[case("issuer = \"auth.example.com\"", "jwt.issuer 4:10 this is no URL")]
#[case(
    "issuer = \"https://a.com\"\naccess_token_ttl_secs = 59",
    "jwt.access_token_ttl_secs 5:25 the number is out of range (60 to 86400)"
)]
#[case(
    "issuer = \"https://a.com\"\nauthorization_code_ttl_secs = 601",
    "jwt.authorization_code_ttl_secs 5:31 the number is out of range (10 to 600)"
)]
#[case(
    "issuer = \"https://a.com\"\nrefresh_token_ttl_secs = 600",
    "jwt.refresh_token_ttl_secs 5:26 a refresh token would not outlive its access token"
)]
#[case(
    "issuer = \"https://a.com\"\nsession_absolute_ttl_secs = 60",
    "jwt.session_absolute_ttl_secs 5:29 the cap is shorter than the life of one access token"
)]
#[case(
    "issuer = \"https://a.com\"\nprivate_key_path = \"x\"",
    "jwt.private_key_path 5:20 the old key fields stand beside `[[jwt.keys]]`"
)]
fn a_rule_of_jwt_is_broken(#[case] lines: &str, #[case] expected: &str) {
    let text = LEAST.replace("issuer = \"https://auth.example.com\"", lines);
    assert_eq!(summary(&text), [expected]);
}

/// Rules of one key entry. The text replaces the entry on line 5.
#[rstest]
#[case("{ algorithm = \"ES256\" }", "jwt.keys[0] 5:9 the entry names no key")]
#[case(
    "{ algorithm = \"ES256\", public_key_path = \"a\" }",
    "jwt.keys[0] 5:9 the first key signs and must have a private key"
)]
#[case(
    "{ algorithm = \"ES256\", private_key_path = \"a\", kid = \"a b\" }",
    "jwt.keys[0].kid 5:62 the kid is not 1 to 64 characters out of A-Z a-z 0-9 . _ -"
)]
#[case(
    "{ algorithm = \"ES256\", private_key_path = \"a\", signs_from = \"soon\" }",
    "jwt.keys[0].signs_from 5:69 this is no time of RFC 3339 with its offset"
)]
#[case(
    "{ algorithm = \"ES256\", private_key_path = \"a\", kid = \"k\" }, { algorithm = \"ES256\", private_key_path = \"b\", kid = \"k\" }",
    "jwt.keys[1].kid 5:122 the kid is that of jwt.keys[0]"
)]
#[case(
    "{ algorithm = \"HS256\", private_key_path = \"a\" }",
    "jwt.keys[0].algorithm 5:23 the value is none of those that this key knows"
)]
fn a_rule_of_a_key_is_broken(#[case] entry: &str, #[case] expected: &str) {
    let text = LEAST.replace(
        "{ algorithm = \"ES256\", private_key_path = \"keys/a.pem\" }",
        entry,
    );
    assert_eq!(summary(&text), [expected]);
}

#[test]
fn a_time_may_be_written_as_toml_writes_it() {
    let text = LEAST.replace(
        "\"keys/a.pem\"",
        "\"keys/a.pem\", signs_from = 2026-01-31T12:00:00Z",
    );
    assert_eq!(
        loads(&text).config.jwt.keys[0]
            .signs_from
            .unwrap()
            .unix_timestamp(),
        1_769_860_800
    );
}

/// Rules of a provider. The lines follow `[oauth.providers.p]` on line 6.
#[rstest]
#[case(
    "client_id = \"c\"\nclient_secret = \"s\"",
    "oauth.providers.p 6:18 nothing says what provider this is"
)]
#[case(
    "client_id = \"c\"\nclient_secret = \"s\"\nissuer = \"https://a\"\nauth_url = \"https://a/b\"",
    "oauth.providers.p.issuer 9:10 both `issuer` and URLs are given"
)]
#[case(
    "client_id = \"c\"\nclient_secret = \"s\"\nissuer = \"http://a\"",
    "oauth.providers.p.issuer 9:10 the provider must be reached by https"
)]
#[case(
    "client_id = \"c\"\nclient_secret = \"s\"\nissuer = \"a\"",
    "oauth.providers.p.issuer 9:10 this is no URL"
)]
#[case(
    "client_id = \"c\"\nclient_secret = \"s\"\nissuer = \"https://a\"\nallow_insecure_http = true",
    "oauth.providers.p.allow_insecure_http 10:23 plain http towards a provider is for development, and the issuer is not on loopback"
)]
#[case(
    "client_id = \"\"\nclient_secret = \"s\"\npreset = \"google\"",
    "oauth.providers.p.client_id 7:13 the client id is empty"
)]
#[case(
    "client_id = \"c\"\npreset = \"google\"",
    "oauth.providers.p.client_secret 6:18 the client secret is missing"
)]
#[case(
    "client_id = \"c\"\nclient_secret = \"s\"\npreset = \"googel\"",
    "oauth.providers.p.preset 9:10 the value is none of those that this key knows"
)]
#[case(
    "client_id = \"c\"\nclient_secret = \"s\"\npreset = \"google\"\ntenant = \"x\"",
    "oauth.providers.p.tenant 10:10 only the preset \"microsoft\" has tenants"
)]
#[case(
    "client_id = \"c\"\nclient_secret = \"s\"\npreset = \"google\"\napple_key_id = \"x\"",
    "oauth.providers.p.apple_key_id 10:16 only the preset \"apple\" uses this"
)]
#[case(
    "client_id = \"c\"\npreset = \"apple\"\napple_team_id = \"t\"\napple_key_id = \"k\"",
    "oauth.providers.p.apple_private_key_path 6:18 Apple's client secret is made from this"
)]
#[case(
    "client_id = \"c\"\nclient_secret = \"s\"\npreset = \"google\"\nsignup = \"allow_list\"",
    "oauth.providers.p.signup 10:10 the allow list is empty, so nobody could join"
)]
#[case(
    "client_id = \"c\"\nclient_secret = \"s\"\npreset = \"google\"\nallow_list.email_domains = [\"a.com\"]",
    "oauth.providers.p.allow_list 10:1 the allow list has no effect"
)]
#[case(
    "client_id = \"c\"\nclient_secret = \"s\"\nauth_url = \"https://a\"\ntoken_url = \"https://a\"\nprofile_mapping.subject = \"id\"",
    "oauth.providers.p.userinfo_url 6:18 a manual provider needs all three URLs"
)]
#[case(
    "client_id = \"c\"\nclient_secret = \"s\"\nauth_url = \"https://a\"\ntoken_url = \"https://a\"\nuserinfo_url = \"https://a\"",
    "oauth.providers.p.profile_mapping 6:18 a manual provider must say which member of its profile is the user's id"
)]
fn a_rule_of_a_provider_is_broken(#[case] lines: &str, #[case] expected: &str) {
    assert_eq!(
        summary(&format!("{LEAST}[oauth.providers.p]\n{lines}\n")),
        [expected]
    );
}

#[rstest]
#[case("me", "the name belongs to a route of its own below /auth/")]
#[case("logout-all", "the name belongs to a route of its own below /auth/")]
#[case("Google", "the name is not 1 to 32 characters out of a-z 0-9 _ -")]
fn a_provider_cannot_have_the_name(#[case] name: &str, #[case] problem: &str) {
    let text = format!(
        "{LEAST}[oauth.providers.{name}]\npreset = \"google\"\nclient_id = \"c\"\nclient_secret = \"s\"\n"
    );
    assert_eq!(summary(&text), [format!("oauth.providers.{name} 6:18 {problem}")]);
}

#[test]
fn plain_http_to_a_provider_is_allowed_when_the_issuer_is_on_loopback() {
    let least = LEAST.replace("https://auth.example.com", "http://localhost:8081");
    let provider = "issuer = \"http://localhost:9\"\nallow_insecure_http = true\nclient_id = \"c\"\nclient_secret = \"s\"";
    loads(&format!("{least}[oauth.providers.p]\n{provider}\n"));
}

#[test]
fn the_environment_overrides_the_file_and_is_named_when_it_is_wrong() {
    let source = with_environment(
        LEAST,
        &[
            ("RILEY_AUTH__SERVER__PORT", "9000"),
            ("RILEY_AUTH__SERVER__CORS_ORIGINS", "[\"https://a.com\"]"),
            ("RILEY_AUTH__JWT__ISSUER", "https://b.example.com"),
            ("RILEY_AUTH__OAUTH__PROVIDERS__GOOGLE__CLIENT_SECRET", "123"),
            ("RILEY_AUTH__OAUTH__PROVIDERS__GOOGLE__CLIENT_ID", "c"),
            ("RILEY_AUTH__OAUTH__PROVIDERS__GOOGLE__PRESET", "google"),
        ],
    );
    let config = source.load().unwrap().config;
    assert_eq!(config.server.port, 9000);
    assert_eq!(config.server.cors_origins, ["https://a.com"]);
    assert_eq!(config.issuer(), "https://b.example.com");
    let google = &config.oauth.providers["google"];
    assert_eq!(google.client_secret.as_ref().unwrap().expose_secret(), "123");

    let wrong = with_environment(
        LEAST,
        &[
            ("RILEY_AUTH__SERVER__PORT", "many"),
            ("RILEY_AUTH__SERVER__PROT", "1"),
        ],
    );
    let printed = ConfigFindings(findings(&wrong)).to_string();
    assert!(
        printed.contains("environment variable RILEY_AUTH__SERVER__PORT"),
        "{printed}"
    );
    assert!(printed.contains("did you mean `port`?"), "{printed}");
}

/// Whole tables and lists of them are TOML, too; a name with a dash is written as it is; a value may name a variable or a file;
/// an empty one is an empty string, and refused where that means nothing.
#[test]
fn the_environment_can_say_everything_that_the_file_can() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), "from a file\n").unwrap();
    let secret = format!("file:{}", directory.path().join("secret").display());
    let keys = "[{ algorithm = \"ES256\", private_key_path = \"a.pem\" }, \
                 { algorithm = \"RS256\", private_key_path = \"b.pem\", kid = \"b\" }]";
    let least = [
        ("RILEY_AUTH__JWT__KEYS", keys),
        ("RILEY_AUTH__OAUTH__PROVIDERS__MY-IDP__CLIENT_SECRET", &secret),
        ("RILEY_AUTH__OAUTH__PROVIDERS__MY-IDP__CLIENT_ID", "env:CLIENT_ID"),
        (
            "RILEY_AUTH__OAUTH__PROVIDERS__MY-IDP__ISSUER",
            "https://idp.example.com",
        ),
        ("CLIENT_ID", "from the environment"),
    ];
    let config = with_environment(LEAST, &least).load().unwrap().config;
    let files = config.jwt.key_files();
    assert_eq!(files.len(), 2);
    assert_eq!(files[1].kid.as_deref(), Some("b"));
    let idp = &config.oauth.providers["my-idp"];
    assert_eq!(idp.client_secret.as_ref().unwrap().expose_secret(), "from a file");
    assert_eq!(idp.client_id, "from the environment");

    let empty = with_environment(LEAST, &[("RILEY_AUTH__JWT__ISSUER", "")]);
    let printed = ConfigFindings(findings(&empty)).to_string();
    assert!(printed.contains("RILEY_AUTH__JWT__ISSUER"), "{printed}");
    let gone = with_environment(LEAST, &[("RILEY_AUTH__DATABASE__URL", "file:/none")]);
    let printed = ConfigFindings(findings(&gone)).to_string();
    assert!(printed.contains("/none cannot be read"), "{printed}");
}

#[test]
fn a_string_may_come_from_the_environment_or_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), "s3cret\n").unwrap();
    let text = LEAST.replace("postgres://localhost/riley", "env:DATABASE_URL")
        + "[oauth.providers.google]\npreset = \"google\"\nclient_id = \"c\"\nclient_secret = \"file:secret\"\n";
    let mut source = with_environment(&text, &[("DATABASE_URL", "postgres://u:p@h/d")]);
    source.path = Some(directory.path().join("riley-auth.toml"));
    let config = source.load().unwrap().config;
    assert_eq!(config.database.url.expose_secret(), "postgres://u:p@h/d");
    let google = &config.oauth.providers["google"];
    assert_eq!(google.client_secret.as_ref().unwrap().expose_secret(), "s3cret");
}

#[test]
fn what_env_and_file_name_must_be_there_except_offline() {
    let text = LEAST
        .replace("postgres://localhost/riley", "env:NOT_SET")
        .replace("https://auth.example.com", "file:/none");
    let mut source = source(&text);
    let found: Vec<String> = findings(&source)
        .iter()
        .filter(|f| f.is_error())
        .map(line)
        .collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(
        found[0],
        "database.url 1:20 the environment variable NOT_SET is not set"
    );
    assert!(
        found[1].starts_with("jwt.issuer 4:10 the file /none cannot be read"),
        "{}",
        found[1]
    );
    source.offline = true;
    let loaded = source.load().unwrap();
    assert!(
        loaded
            .warnings
            .iter()
            .any(|finding| finding.key == "database.url")
    );
}

/// Whatever is wrong around it, a secret is never in what is printed.
#[rstest]
#[case("[database]\nurl = \"mysql://u:hunter2@h/d\"\n")]
#[case("[database]\nurl = [\"hunter2\"]\n")]
#[case("[database]\nurk = \"hunter2\"\n")]
#[case("[database]\nurl = \"postgres://h/d\"\ndirect_url = \"mysql://u:hunter2@h/d\"\n")]
#[case("database = { url = \"postgres://hunter2@h/d\", max_connections = 0 }\n")]
#[case("database = { ur = \"hunter2\" }\n")]
#[case("database = \"hunter2\"\n")]
#[case("[oauth.providers.google]\nclient_secret = \"hunter2\"\nclient_secrt = \"hunter2\"\n")]
#[case("[oauth.providers]\ngoogle = { preset = \"gogle\", client_secret = \"hunter2\", client_id = \"\" }\n")]
#[case("[oauth.providers.google]\nclient_secret = \"\"\"\nhunter2\"\"\" x\n")]
#[case("[oauth.providers.google]\nclient_secret = hunter2\n")]
fn a_secret_is_never_printed(#[case] text: &str) {
    let found = findings(&source(text));
    assert!(found.iter().any(Finding::is_error));
    let printed = ConfigFindings(found.clone()).to_string();
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(!serde_json::to_string(&found).unwrap().contains("hunter2"));
}

#[test]
fn the_debug_form_of_a_configuration_shows_no_secret() {
    let text = LEAST.replace(
        "postgres://localhost/riley\"",
        "postgres://u:hunter2@h/d\", direct_url = \"postgres://v:hunter2@h/d\"",
    );
    assert!(!format!("{:?}", loads(&text)).contains("hunter2"));
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let ConfigFindings(found) = Config::load(Some(Path::new("/nonexistent/riley-auth.toml"))).unwrap_err();
    assert!(found[0].problem.contains("/nonexistent/riley-auth.toml"));
}

const EXAMPLE: &str = include_str!("../config.example.toml");

fn example_source(text: &str) -> Source {
    with_environment(
        text,
        &[
            ("DATABASE_URL", "postgres://localhost/riley"),
            ("RILEY_AUTH_SECRET_KEY", "a-secret-key-of-the-tests-0123456789"),
            ("GOOGLE_CLIENT_SECRET", "s"),
        ],
    )
}

/// The commented settings of the example without their marks. `examples`: also those that only show a possible value.
fn uncommented(examples: bool) -> String {
    let is_setting = |line: &str| {
        line.strip_prefix("# ").is_some_and(|rest| {
            let key = rest.split(" = ").next().unwrap_or_default();
            rest.contains(" = ") && key.chars().all(|c| c.is_ascii_lowercase() || "_\":".contains(c))
        })
    };
    let lines = EXAMPLE.lines().map(|line| {
        let wanted = is_setting(line) && (examples || !line.ends_with("# for example"));
        if wanted {
            line.strip_prefix("# ").unwrap_or(line)
        } else {
            line
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_loads_without_a_finding_as_it_stands() {
    assert_eq!(example_source(EXAMPLE).load().unwrap().warnings, []);
}

#[test]
fn every_commented_default_in_the_example_is_the_codes() {
    let as_it_stands = example_source(EXAMPLE).load().unwrap().config;
    let spelled_out = example_source(&uncommented(false))
        .load()
        .unwrap_or_else(|findings| panic!("{findings}"))
        .config;
    assert_eq!(format!("{as_it_stands:#?}"), format!("{spelled_out:#?}"));
    assert!(
        uncommented(false)
            .lines()
            .filter(|line| line.contains(" = "))
            .count()
            > 35
    );
}

#[test]
fn every_key_of_the_code_is_in_the_example_and_every_key_of_the_example_in_the_code() {
    let text = uncommented(true);
    let unknown: Vec<_> = findings(&example_source(&text))
        .into_iter()
        .map(|finding| finding.problem)
        .collect();
    assert!(
        !unknown.iter().any(|problem| problem.contains("nobody knows")),
        "{unknown:?}"
    );
    let example: toml::Value = toml::from_str(&text).unwrap();
    let schema = schemars::schema_for!(Config).to_value();
    let mut missing = Vec::new();
    compare(&schema, &schema, &example, "", &mut missing);
    assert_eq!(missing, Vec::<String>::new());
}

/// Collects the keys of `schema` that `value` does not have.
fn compare(
    root: &serde_json::Value,
    schema: &serde_json::Value,
    value: &toml::Value,
    path: &str,
    missing: &mut Vec<String>,
) {
    if let Some(reference) = schema["$ref"].as_str() {
        return compare(
            root,
            &root["$defs"][reference.rsplit('/').next().unwrap()],
            value,
            path,
            missing,
        );
    }
    if let Some(options) = schema["anyOf"].as_array() {
        let present = options.iter().find(|option| option["type"] != "null").unwrap();
        return compare(root, present, value, path, missing);
    }
    match value {
        toml::Value::Array(items) => {
            if let Some(first) = items.first() {
                compare(root, &schema["items"], first, path, missing);
            }
        }
        toml::Value::Table(table) => {
            for (key, member) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}.{key}");
                match table.get(key) {
                    Some(value) => compare(root, member, value, &path, missing),
                    None => missing.push(path),
                }
            }
            if schema["additionalProperties"].is_object() {
                let (name, value) = table
                    .iter()
                    .next()
                    .unwrap_or_else(|| panic!("{path} has an entry"));
                compare(
                    root,
                    &schema["additionalProperties"],
                    value,
                    &format!("{path}.{name}"),
                    missing,
                );
            }
        }
        _ => {}
    }
}

/// The configuration that the official suite is run against by hand is one that loads.
#[test]
fn the_configuration_of_the_conformance_suite_loads() {
    let source = with_environment(
        include_str!("conformance_suite/riley-auth.toml"),
        &[
            ("CONFORMANCE_DATABASE_URL", "postgres://riley@127.0.0.1/riley"),
            ("CONFORMANCE_SECRET_KEY", "a-secret-key-of-the-tests-0123456789"),
            ("CONFORMANCE_ES256_KEY", "es256.pem"),
            ("CONFORMANCE_RS256_KEY", "rs256.pem"),
            ("CONFORMANCE_UPSTREAM_ISSUER", "http://127.0.0.1:9454"),
            ("CONFORMANCE_UPSTREAM_CLIENT_ID", "riley-auth"),
            ("CONFORMANCE_UPSTREAM_CLIENT_SECRET", "of the upstream"),
        ],
    );
    let loaded = source.load().unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(loaded.config.issuer(), "https://localhost:9443");
}
