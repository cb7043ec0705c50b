//! GitHub: numeric ids, and addresses and organisations behind endpoints of their own.
//! <https://docs.github.com/en/rest/users>

use serde_json::{Map, Value, json};
use url::Url;

use super::http::Http;
use super::oauth2::Profile;
use super::profile;
use super::settings::below;

/// What is fetched besides the profile.
#[derive(Debug, Default)]
pub(super) struct More {
    /// `GET /user/emails`; `None` if that failed.
    pub(super) emails: Option<Vec<Value>>,
    /// `GET /user/orgs`; empty if that failed, so that nobody is admitted by a failure.
    pub(super) organizations: Vec<Value>,
}

pub(super) async fn fetch(
    http: &Http,
    api: &Url,
    access_token: &str,
    organizations: bool,
    provider: &str,
) -> More {
    let emails = list(http, api, "user/emails", access_token, provider).await;
    let mut more = More {
        emails,
        organizations: Vec::new(),
    };
    if organizations {
        more.organizations = list(http, api, "user/orgs", access_token, provider)
            .await
            .unwrap_or_default();
    }
    more
}

/// The first page, of a hundred: more addresses or organisations than that are not looked at.
async fn list(http: &Http, api: &Url, path: &str, access_token: &str, provider: &str) -> Option<Vec<Value>> {
    let mut url = below(api, path)?;
    url.query_pairs_mut().append_pair("per_page", "100");
    match http
        .get_json("fetch a list from GitHub", &url, Some(access_token))
        .await
    {
        Ok(list) => Some(list),
        Err(error) => {
            let detail = format!("{error:#}");
            tracing::warn!(
                provider.name = provider,
                path,
                error = detail,
                "a list of GitHub's could not be fetched"
            );
            None
        }
    }
}

/// Reads `GET /user`. The address in it is public and unverified: only the primary one of the list counts as verified.
pub(super) fn profile(user: &Value, more: &More, allow_insecure_http: bool) -> Option<Profile> {
    // The number alone: a login can be renamed and taken by somebody else.
    let subject = profile::subject(user.get("id").filter(|id| id.is_number()))?;
    let primary = more
        .emails
        .iter()
        .flatten()
        .find(|email| email.get("primary") == Some(&json!(true)));
    let (email, email_verified) = match primary {
        Some(primary) => {
            let verified = profile::email_verified(primary.get("verified"), false);
            (profile::email(primary.get("email")), verified)
        }
        None => (profile::email(user.get("email")), false),
    };
    let organizations = more
        .organizations
        .iter()
        .filter_map(|org| profile::text(org.get("login")))
        .collect();
    Some(Profile {
        subject,
        username: profile::text(user.get("login")),
        name: profile::text(user.get("name")),
        picture: profile::link(user.get("avatar_url"), allow_insecure_http),
        email,
        email_verified,
        organizations,
        claims: claims(user, allow_insecure_http),
    })
}

/// GitHub's members that have a standard name too.
fn claims(user: &Value, allow_insecure_http: bool) -> Map<String, Value> {
    let renamed = [
        ("name", "name"),
        ("preferred_username", "login"),
        ("profile", "html_url"),
        ("picture", "avatar_url"),
        ("website", "blog"),
    ];
    let claims = renamed
        .iter()
        .filter_map(|(claim, member)| Some(((*claim).to_owned(), user.get(*member)?.clone())))
        .collect();
    profile::standard_claims(&claims, allow_insecure_http)
}

#[cfg(test)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "JSON literals are handed over as they are written"
)]
mod tests {
    use super::*;

    fn read(user: Value, emails: Option<Value>) -> Option<Profile> {
        let emails = emails.map(|emails| emails.as_array().unwrap().clone());
        profile(
            &user,
            &More {
                emails,
                organizations: Vec::new(),
            },
            false,
        )
    }

    #[test]
    fn the_subject_is_the_number_and_nothing_else() {
        assert_eq!(
            read(json!({ "id": 7, "login": "ada" }), None).unwrap().subject,
            "7"
        );
        for id in [json!("ada"), json!("7"), json!(7.5), json!(null)] {
            assert!(read(json!({ "id": id, "login": "ada" }), None).is_none());
        }
    }

    #[test]
    fn only_the_primary_address_of_the_list_is_verified() {
        let user = json!({ "id": 7, "email": "public@x.test" });
        let list = json!([
            { "email": "old@x.test", "primary": false, "verified": true },
            { "email": "main@x.test", "primary": true, "verified": true }
        ]);
        let profile = read(user.clone(), Some(list)).unwrap();
        assert_eq!(
            (profile.email.as_deref(), profile.email_verified),
            (Some("main@x.test"), true)
        );

        let unverified = json!([{ "email": "main@x.test", "primary": true, "verified": false }]);
        assert!(!read(user, Some(unverified)).unwrap().email_verified);
    }

    #[test]
    fn without_the_list_the_public_address_is_unverified() {
        let profile = read(
            json!({ "id": 7, "email": "public@x.test", "verified": true }),
            None,
        )
        .unwrap();
        assert_eq!(
            (profile.email.as_deref(), profile.email_verified),
            (Some("public@x.test"), false)
        );
    }
}
