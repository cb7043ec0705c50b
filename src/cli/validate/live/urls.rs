//! URLs that others gave us: endpoints of the providers, and where the registered apps want to be called.
//!
//! Each is asked by GET, without cookies, and no redirect is followed. Any answer at all shows that name, certificate and
//! way are in order; what an app answers to a request without parameters is its own business, but for "not found".

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::task::JoinSet;
use url::Url;

use super::outside::{Answer, Failure, client, read};
use crate::clock::Clock;
use crate::config::finding::Finding;
use crate::config::{Config, is_loopback};
use crate::db;
use crate::outbound::target::{self, Policy, Refused};
use crate::protocol::client::{Client, ClientType};
use crate::upstream::Upstreams;

/// Questions at once.
const AT_ONCE: usize = 8;

/// What was found, and what the clocks of the providers say.
#[derive(Default)]
pub(super) struct Urls {
    pub(super) findings: Vec<Finding>,
    pub(super) dates: Vec<Dated>,
}

/// A provider's clock.
pub(super) struct Dated {
    pub(super) provider: String,
    /// Microseconds since the epoch.
    pub(super) date_micros: i64,
    /// Microseconds since the epoch, when it was asked.
    pub(super) asked_at_micros: i64,
    pub(super) took: Duration,
}

/// What came of asking a URL.
struct Asked {
    outcome: Result<Answer, Failure>,
    at_micros: i64,
    took: Duration,
}

/// What a URL is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    /// An endpoint of a provider; its clock counts.
    Provider(String),
    /// Browsers are sent there.
    Page,
    /// We send there ourselves.
    BackChannel,
}

/// A URL, the finding's key, and what it is for.
type Question = (String, String, Purpose);

/// Asks all of them.
pub(super) async fn check(config: &Config) -> Urls {
    let mut urls = Urls::default();
    let mut questions = providers(config).await;
    match clients(config).await {
        Ok(clients) => {
            for client in clients.iter().filter(|client| !client.disabled) {
                questions.extend(of_client(client));
            }
        }
        Err(error) => urls.findings.push(Finding::error(
            "clients",
            format!("the registered apps cannot be read: {error}"),
            "see the findings about the database",
        )),
    }
    let Ok(http) = client().build() else { return urls };
    let asked = ask_all(&http, &questions).await;
    let policy = config.webhooks.policy();
    for (url, key, purpose) in questions {
        let Some(asked) = asked.get(&url) else {
            continue;
        };
        if let (Purpose::Provider(name), Ok(answer)) = (&purpose, &asked.outcome)
            && let Some(date_micros) = date_of(answer)
        {
            urls.dates.push(Dated {
                provider: name.clone(),
                date_micros,
                asked_at_micros: asked.at_micros,
                took: asked.took,
            });
        }
        let refused = match purpose {
            Purpose::BackChannel => judge_address(&url, &key, policy).await,
            _ => None,
        };
        urls.findings
            .extend(refused.or_else(|| judge(&url, key, &purpose, &asked.outcome)));
    }
    urls
}

async fn clients(config: &Config) -> anyhow::Result<Vec<Client>> {
    let pool = db::connect_commands(&config.database)?;
    let clients = db::clients::list(&pool).await;
    pool.close().await;
    Ok(clients?)
}

/// One endpoint of each host that a provider uses. One whose discovery document cannot be had has a finding already.
async fn providers(config: &Config) -> Vec<Question> {
    let Ok(upstreams) = Upstreams::new(config, Clock::default()) else {
        return Vec::new();
    };
    let mut questions = Vec::new();
    for provider in upstreams.list() {
        let mut origins = Vec::new();
        for endpoint in provider.endpoints().await.unwrap_or_default() {
            if !origins.contains(&endpoint.origin()) {
                origins.push(endpoint.origin());
                questions.push((
                    endpoint.to_string(),
                    format!("oauth.providers.{}", provider.name()),
                    Purpose::Provider(provider.name().to_owned()),
                ));
            }
        }
    }
    questions
}

/// A native app's redirects lead to the person's own device, and loopback to whatever machine the browser is on.
fn of_client(client: &Client) -> Vec<Question> {
    let key = |what: &str| format!("clients.{}.{what}", client.client_id);
    let is_page = |uri: &&String| {
        let is_elsewhere =
            Url::parse(uri).is_ok_and(|url| ["https", "http"].contains(&url.scheme()) && !is_loopback(&url));
        is_elsewhere && client.client_type != ClientType::Native
    };
    let redirects = client.redirect_uris.iter().filter(is_page);
    let logouts = client.post_logout_redirect_uris.iter().filter(is_page);
    redirects
        .map(|uri| (uri.clone(), key("redirect_uris"), Purpose::Page))
        .chain(logouts.map(|uri| (uri.clone(), key("post_logout_redirect_uris"), Purpose::Page)))
        .chain(
            client
                .backchannel_logout_uri
                .iter()
                .map(|uri| (uri.clone(), key("backchannel_logout_uri"), Purpose::BackChannel)),
        )
        .collect()
}

/// Each URL once.
async fn ask_all(http: &reqwest::Client, questions: &[Question]) -> BTreeMap<String, Asked> {
    let mut waiting: Vec<String> = questions.iter().map(|(url, _, _)| url.clone()).collect();
    waiting.sort_unstable();
    waiting.dedup();
    let mut waiting = waiting.into_iter();
    let mut asking = JoinSet::new();
    let mut asked = BTreeMap::new();
    loop {
        while asking.len() < AT_ONCE
            && let Some(url) = waiting.next()
        {
            let request = http.get(&url);
            asking.spawn(async move {
                let (at_micros, started) = (super::micros(), Instant::now());
                let outcome = read(request).await;
                let took = started.elapsed();
                let asked = Asked {
                    outcome,
                    at_micros,
                    took,
                };
                (url, asked)
            });
        }
        match asking.join_next().await {
            Some(Ok((url, one))) => {
                asked.insert(url, one);
            }
            Some(Err(_)) => {}
            None => return asked,
        }
    }
}

fn judge(url: &str, key: String, purpose: &Purpose, outcome: &Result<Answer, Failure>) -> Option<Finding> {
    match outcome {
        Err(failure) => Some(Finding::warning(
            key,
            format!("{url}: {}", failure.problem),
            match purpose {
                Purpose::Provider(_) => "see that this machine reaches the provider",
                _ => "correct the URL at the app's registration, or mend the app's server",
            },
        )),
        // Some endpoints of providers do not know GET at all.
        Ok(_) if matches!(purpose, Purpose::Provider(_)) => None,
        Ok(answer) if [404, 410].contains(&answer.status) => Some(Finding::warning(
            key,
            format!("{url} answers {}", answer.status),
            "correct the path at the app's registration, or let the app answer there",
        )),
        Ok(answer) if *purpose == Purpose::BackChannel && (300..400).contains(&answer.status) => {
            Some(Finding::warning(
                key,
                format!("{url} redirects, which deliveries do not follow"),
                "register the URL that it leads to",
            ))
        }
        Ok(_) => None,
    }
}

/// Deliveries refuse addresses that are not public, so that an app cannot make the server knock on internal doors. Judged as
/// they judge it, by what is configured and by what the name leads to from here.
async fn judge_address(url: &str, key: &str, policy: Policy) -> Option<Finding> {
    const EVERYWHERE: Policy = Policy {
        allow_private_ips: true,
    };
    let parsed = Url::parse(url).ok()?;
    let reason = match target::check_url(&parsed, policy) {
        Err(Refused(reason)) => reason,
        Ok(()) if target::resolve(&parsed, policy).await.is_some() => return None,
        // A name that leads nowhere at all is told of by whoever asks there.
        Ok(()) => {
            target::resolve(&parsed, EVERYWHERE).await?;
            "its name leads to an address that is not public"
        }
    };
    Some(Finding::warning(
        key,
        format!("{url} is never told of a logout: {reason}"),
        "register the app's public URL, or admit private addresses for deliveries (webhooks.allow_private_ips)",
    ))
}

/// The `Date` of an answer, in microseconds since the epoch.
fn date_of(answer: &Answer) -> Option<i64> {
    // RFC 9110 §5.6.7: "Sun, 06 Nov 1994 08:49:37 GMT", which RFC 2822 writes with +0000.
    let text = answer.header("date")?.replace("GMT", "+0000");
    let date = OffsetDateTime::parse(&text, &Rfc2822).ok()?;
    date.unix_timestamp().checked_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use reqwest::header::{DATE, HeaderMap, HeaderValue};

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "judged beside answers that failed")]
    fn answer(status: u16) -> Result<Answer, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        Ok(Answer {
            status,
            headers,
            body: Vec::new(),
        })
    }

    #[test]
    fn what_an_app_answers_to_a_bare_request_is_its_business_but_for_not_found() {
        let judged = |purpose: &Purpose, status| {
            judge("https://a.example/x", "k".to_owned(), purpose, &answer(status))
                .map(|finding| finding.problem)
        };
        for status in [200, 302, 400, 401, 405, 500] {
            assert_eq!(judged(&Purpose::Page, status), None);
        }
        for status in [200, 400, 405] {
            assert_eq!(judged(&Purpose::BackChannel, status), None);
        }
        assert!(judged(&Purpose::Page, 404).unwrap().contains("answers 404"));
        assert!(
            judged(&Purpose::BackChannel, 410)
                .unwrap()
                .contains("answers 410")
        );
        assert!(judged(&Purpose::BackChannel, 302).unwrap().contains("redirects"));
        assert_eq!(judged(&Purpose::Provider("p".to_owned()), 404), None);
    }

    #[tokio::test]
    async fn a_back_channel_that_deliveries_refuse_is_found_unless_private_addresses_are_admitted() {
        let (guarded, open) = (false, true);
        let judged = async |url: &str, allow_private_ips: bool| {
            judge_address(url, "k", Policy { allow_private_ips }).await
        };
        for url in [
            "https://10.0.0.1/logout",
            "https://127.0.0.1/logout",
            "https://[::1]/logout",
            "https://[fd00::1]/logout",
            "https://169.254.169.254/",
            "https://100.64.0.1/",
            "https://localhost/logout",
        ] {
            let finding = judged(url, guarded).await.unwrap();
            assert!(finding.problem.contains("is never told of a logout"), "{url}");
            assert_eq!(judged(url, open).await, None, "{url}");
        }
        assert_eq!(judged("https://8.8.8.8/", guarded).await, None);
    }

    #[tokio::test]
    async fn apps_that_cannot_be_read_are_said_to_be() {
        let config: Config = toml::from_str(
            "database = { url = \"postgres://nobody@127.0.0.1:1/none\", acquire_timeout_secs = 1, \
                          secret_key = \"a-secret-key-of-the-tests-0123456789\" }\n\
             jwt = { issuer = \"https://auth.example.com\" }",
        )
        .unwrap();
        let urls = check(&config).await;
        let [finding] = &urls.findings[..] else {
            panic!("{:?}", urls.findings)
        };
        assert!(
            finding.problem.contains("the registered apps cannot be read"),
            "{finding}"
        );
    }

    #[test]
    fn a_date_is_read_as_http_writes_it() {
        assert_eq!(date_of(&answer(200).unwrap()), Some(784_111_777_000_000));
    }
}
