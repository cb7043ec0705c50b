use riley_auth::config::Config;
use riley_auth::config::oauth::{AccountMergePolicy, Onboarding};
use riley_auth::dev::simulated_upstream::{Flavour, Misbehaviour};
use serde_json::{Value, json};

use super::merging;
use crate::common::provider::PAGES;
use crate::common::upstreams::with_upstreams;
use crate::common::{Browser, TestProvider};

/// What becomes of the newcomer where nothing is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// They pick a name, and hear of no account.
    Unasked,
    /// They are asked whether an account is theirs, and not whose.
    Suggested,
    /// They may not join.
    Refused(&'static str),
    /// They are joined to the account after all: what is wrong in the row next to this one is right here.
    Merged,
}

/// A way in which a merge can fail, or not.
struct Way {
    why: &'static str,
    /// By which provider the account's owner is in, with further keys of its configuration.
    old: (&'static str, Flavour, Value),
    old_wrong: &'static [Misbehaviour],
    /// By which one the newcomer comes.
    new: (&'static str, Flavour, Value),
    new_wrong: &'static [Misbehaviour],
    /// What happens in between, to the database and to the configuration.
    sql: &'static [&'static str],
    change: fn(&mut Config),
    person: &'static str,
    then: Then,
}

impl Default for Way {
    fn default() -> Self {
        Self {
            why: "",
            old: ("github", Flavour::GitHub, json!({})),
            old_wrong: &[],
            new: ("google", Flavour::Google, json!({})),
            new_wrong: &[],
            sql: &[],
            change: merging,
            person: "ada",
            then: Then::Unasked,
        }
    }
}

fn believed(trust: &str) -> Value {
    json!({ "email_trust": trust })
}

fn demanding(config: &mut Config) {
    config.oauth.account_merge_policy = AccountMergePolicy::AuthoritativeEmail;
}

/// Five and twenty links with the address, older than the owner's: five and twenty strangers', or one account's.
const BY_NOBODY: &str = "WITH strangers AS (
        INSERT INTO users (user_id, username, username_folded, created_at, updated_at)
        SELECT gen_random_uuid(), 'stranger' || n, 'stranger' || n, now(), now() FROM generate_series(1, 25) n
        RETURNING user_id)
    INSERT INTO oauth_links (link_id, user_id, provider, issuer, subject, email, email_folded, email_verified,
                             created_at, last_login_at)
    SELECT gen_random_uuid(), user_id, 'nobody', 'https://nobody.example', user_id::text, 'ada@engine.example',
           'ada@engine.example', true, '2020-01-01', now() FROM strangers";
const OF_ONE_ACCOUNT: &str = "INSERT INTO oauth_links (link_id, user_id, provider, issuer, subject, email, email_folded,
                             email_verified, created_at, last_login_at)
    SELECT gen_random_uuid(), user_id, 'github' || n, issuer, subject || n, email, email_folded, true, created_at, now()
    FROM oauth_links, generate_series(1, 20) n";
/// Somebody else has the address, too.
const SECOND_HOLDER: &str = "WITH second AS (
        INSERT INTO users (user_id, username, username_folded, created_at, updated_at)
        VALUES (gen_random_uuid(), 'second', 'second', now(), now()) RETURNING user_id)
    INSERT INTO oauth_links (link_id, user_id, provider, issuer, subject, email, email_folded, email_verified,
                             created_at, last_login_at)
    SELECT gen_random_uuid(), second.user_id, provider, issuer, 'second', email, email_folded, true, now(), now()
    FROM second, oauth_links";
const DISABLED_SECOND: &str = "UPDATE users SET disabled_at = now() WHERE username = 'second'";
const OTHER_IDENTITY_THERE: &str =
    "INSERT INTO oauth_links (link_id, user_id, provider, issuer, subject, created_at, last_login_at)
     SELECT gen_random_uuid(), user_id, 'google', 'https://other.example', '1', now(), now() FROM users";

/// AC-5, AC-6, §5.
fn ways() -> Vec<Way> {
    let unset = |name, flavour| (name, flavour, json!({}));
    let set = |name, flavour| (name, flavour, believed("verified"));
    let unverified = &[Misbehaviour::UnverifiedEmail][..];
    let (way, github, google) = (Way::default, Flavour::GitHub, Flavour::Google);
    let mut ways = vec![
        Way {
            why: "all is well",
            then: Then::Merged,
            ..way()
        },
        Way {
            why: "the newcomer's address is unverified",
            new_wrong: unverified,
            ..way()
        },
        Way {
            why: "the account's address is unverified",
            old_wrong: unverified,
            ..way()
        },
        Way {
            why: "the newcomer's provider is not believed",
            new: ("google", google, believed("none")),
            ..way()
        },
        Way {
            why: "the account's provider is not believed",
            old: ("github", github, believed("none")),
            ..way()
        },
        Way {
            why: "neither is believed",
            old: ("github", github, believed("none")),
            new: ("google", google, believed("none")),
            ..way()
        },
        Way {
            why: "the flag is the string true",
            new_wrong: &[Misbehaviour::EmailVerifiedAsString],
            ..way()
        },
        Way {
            why: "there is no address",
            new_wrong: &[Misbehaviour::NoEmail],
            ..way()
        },
        Way {
            why: "the list of addresses is not to be had",
            old_wrong: &[Misbehaviour::EmailsFail],
            ..way()
        },
        Way {
            why: "the address is not ASCII",
            person: "käte@example.test",
            ..way()
        },
        Way {
            why: "the account's provider was taken out of the configuration",
            change: |config| {
                merging(config);
                config.oauth.providers.remove("github");
            },
            ..way()
        },
        Way {
            why: "the account is disabled",
            sql: &["UPDATE users SET disabled_at = now()"],
            ..way()
        },
        Way {
            why: "the account is deleted",
            sql: &["UPDATE users SET deleted_at = now(), username = NULL, username_folded = NULL"],
            ..way()
        },
        Way {
            why: "two have the address",
            sql: &[SECOND_HOLDER],
            then: Then::Suggested,
            ..way()
        },
        Way {
            why: "two have the address, of whom one is disabled",
            sql: &[SECOND_HOLDER, DISABLED_SECOND],
            then: Then::Suggested,
            ..way()
        },
        Way {
            why: "the account has another identity at that provider",
            sql: &[OTHER_IDENTITY_THERE],
            then: Then::Suggested,
            ..way()
        },
        Way {
            why: "more links have the address than are looked at",
            sql: &[OF_ONE_ACCOUNT],
            then: Then::Suggested,
            ..way()
        },
        Way {
            why: "many have the address, but nobody believes their provider",
            sql: &[BY_NOBODY],
            then: Then::Merged,
            ..way()
        },
        Way {
            why: "many have the address by a provider that nobody believes, and nothing is merged",
            sql: &[BY_NOBODY],
            change: |_| (),
            then: Then::Suggested,
            ..way()
        },
        Way {
            why: "the policy is none",
            change: |_| (),
            then: Then::Suggested,
            ..way()
        },
        Way {
            why: "nobody may join by the newcomer's provider",
            new: ("google", google, json!({ "signup": "closed" })),
            then: Then::Refused("signup_closed"),
            ..way()
        },
        Way {
            why: "the newcomer is not on the list",
            new: (
                "google",
                google,
                json!({ "signup": "allow_list", "allow_list": { "email_domains": ["other.example"] } }),
            ),
            then: Then::Refused("signup_refused"),
            ..way()
        },
        Way {
            why: "an authoritative word is demanded, and the account's provider is not",
            change: demanding,
            then: Then::Suggested,
            ..way()
        },
        Way {
            why: "an authoritative word is demanded, and the newcomer's provider is not",
            old: ("github", github, believed("authoritative")),
            new: ("google", google, believed("verified")),
            change: demanding,
            then: Then::Suggested,
            ..way()
        },
        Way {
            why: "an authoritative word is demanded, and both are",
            old: ("github", github, believed("authoritative")),
            change: demanding,
            then: Then::Merged,
            ..way()
        },
    ];
    for (name, flavour) in [
        ("discord", Flavour::Discord),
        ("generic", Flavour::Oidc),
        ("by-hand", Flavour::OAuth2),
    ] {
        ways.extend([
            Way {
                why: "nobody said that the newcomer's provider is believed",
                new: unset(name, flavour),
                ..way()
            },
            Way {
                why: "somebody said so",
                new: set(name, flavour),
                then: Then::Merged,
                ..way()
            },
            Way {
                why: "nobody said that the account's provider is believed",
                old: unset(name, flavour),
                ..way()
            },
            Way {
                why: "somebody said so",
                old: set(name, flavour),
                then: Then::Merged,
                ..way()
            },
        ]);
    }
    ways.extend([
        Way {
            why: "nobody said that the newcomer's provider is believed",
            new: unset("microsoft", Flavour::Microsoft),
            ..way()
        },
        Way {
            why: "nobody said that the account's provider is believed",
            old: unset("microsoft", Flavour::Microsoft),
            ..way()
        },
    ]);
    ways
}

/// What tells of merges, and how many accounts and links there are.
async fn traces(op: &TestProvider) -> (i64, i64, i64, i64, i64) {
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM events WHERE event_type = 'account.merged'), (SELECT count(*) FROM audit_entries),
                (SELECT count(*) FROM oauth_links WHERE merged_at IS NOT NULL), (SELECT count(*) FROM users),
                (SELECT count(*) FROM oauth_links)",
    )
    .fetch_one(op.db())
    .await
    .unwrap()
}

/// Comes by a provider, as somebody or other, and tells where that ends.
async fn arrive(
    op: &TestProvider,
    provider: &str,
    person: &str,
    wrong: &[Misbehaviour],
) -> (Browser, String, String) {
    let browser = op.browser();
    let visit = browser.sign_in_amid(provider, person, wrong).await;
    super::names_no_address(&visit);
    let (url, text) = (visit.url.to_string(), visit.text().to_owned());
    (browser, url, text)
}

/// AC-5, AC-6, AC-13, way by way: what is wrong, and that the newcomer then gets an account of their own, is asked, or is
/// refused; that nothing and nobody tells of a merge; and who is asked is told of no account. Beside the ways that fail stand
/// ways that do not, so that it is known what they fail by.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_joins_an_account_only_where_everything_is_well() {
    for way in ways() {
        let why = format!("{} ({} and {})", way.why, way.old.0, way.new.0);
        let list = [way.old.clone(), way.new.clone()];
        let (op, _others) =
            with_upstreams(&list, |config| config.oauth.onboarding = Onboarding::Prompt).await;
        let (owner, _, _) = arrive(&op, way.old.0, way.person, way.old_wrong).await;
        owner.choose("owner").await.is(200);
        let account = owner.user_id().await;
        for sql in way.sql {
            sqlx::query(sqlx::AssertSqlSafe(*sql))
                .execute(op.db())
                .await
                .unwrap();
        }
        let op = op.reconfigured(way.change).await;
        let before = traces(&op).await;
        op.upstream().sign_everybody_out();
        let (newcomer, url, text) = arrive(&op, way.new.0, way.person, way.new_wrong).await;
        if way.then == Then::Merged {
            assert_eq!(url, format!("{PAGES}/home"), "{why}: {text}");
            assert_eq!(newcomer.user_id().await, account, "{why}");
            let (merges, entries, links, users, all) = before;
            assert_eq!(
                traces(&op).await,
                (merges + 1, entries + 1, links + 1, users, all + 1),
                "{why}"
            );
            continue;
        }
        assert_eq!(traces(&op).await, before, "{why}");
        assert!(!newcomer.is_signed_in().await, "{why}");
        match way.then {
            Then::Refused(_) => {
                assert!(!url.starts_with(PAGES), "{why}: {url}");
                newcomer.setup().await.refused_with(404, "no_setup");
                continue;
            }
            Then::Suggested => assert_eq!(url, format!("{PAGES}/link"), "{why}: {text}"),
            _ => assert_eq!(url, format!("{PAGES}/welcome"), "{why}: {text}"),
        }
        let known = newcomer.setup().await.is(200).json();
        assert_eq!(known["link_suggested"], way.then == Then::Suggested, "{why}");
        for secret in [account.as_str(), "owner"] {
            assert!(!known.to_string().contains(secret), "{why}: {known}");
        }
        newcomer.choose("newcomer").await.is(200);
        assert_ne!(newcomer.user_id().await, account, "{why}");
        let (merges, entries, links, users, all) = before;
        assert_eq!(
            traces(&op).await,
            (merges, entries, links, users + 1, all + 1),
            "{why}"
        );
    }
}
