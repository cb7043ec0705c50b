//! Every operation of the API document that belongs to an account or to the administration, with what nobody should send.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::linking::wait_for_confirmation;
use crate::common::provider::ISSUER;
use crate::common::spoiled::{is_refused, spoiled};
use crate::common::upstreams::with_upstreams;
use crate::common::{Answer, Browser, TestProvider};
use riley_auth::dev::simulated_upstream::{Flavour, SimulatedUpstream};

/// Tags of the document that are people's and administrators' business.
const TAGS: [&str; 3] = ["account", "session", "administration"];

/// An operation of the document.
struct Operation {
    id: String,
    method: Method,
    path: String,
    takes_body: bool,
    query: Vec<String>,
}

/// An administrator with somebody else's things beside their own.
struct World {
    op: TestProvider,
    _google: Vec<SimulatedUpstream>,
    root: Browser,
    operations: Vec<Operation>,
    user_id: String,
    client_id: String,
    webhook_id: String,
    /// A session of somebody else.
    session_id: String,
    /// How they sign in.
    link_id: String,
}

impl World {
    async fn start() -> Self {
        let list = [
            ("simulated", Flavour::Oidc, json!({})),
            ("google", Flavour::Google, json!({})),
            ("gitlab", Flavour::GitLab, json!({})),
        ];
        let (op, google) = with_upstreams(&list, |config| {
            config.usernames.days_between_changes = 0;
        })
        .await;
        let root = op.administrator("root").await;
        let ada = op.signed_in("ada").await;
        let app = op.asking_client().await;
        app.tokens_of(&ada, "ada", "openid").await;
        let sessions = ada.call(Method::GET, "/auth/sessions", None).await.json();
        let hook = json!({ "url": "https://hook.example/", "event_types": ["webhook.ping"] });
        let webhook = root
            .send(Method::POST, "/admin/webhooks", &hook)
            .await
            .is(201)
            .json();
        let document = op.get("/openapi.json").await.is(200).json();
        let user_id = ada.user_id().await;
        let links = root.read(&format!("/admin/users/{user_id}")).await["links"].clone();
        Self {
            link_id: links[0]["link_id"].as_str().unwrap().to_owned(),
            operations: operations(&document),
            user_id,
            client_id: app.client_id().to_owned(),
            webhook_id: webhook["webhook_id"].as_str().unwrap().to_owned(),
            session_id: sessions["sessions"][0]["session_id"].as_str().unwrap().to_owned(),
            op,
            _google: google,
            root,
        }
    }

    /// The path with what is there in place of its parameters.
    fn existing(&self, template: &str) -> String {
        template
            .replace("{user_id}", &self.user_id)
            .replace("{client_id}", &self.client_id)
            .replace("{webhook_id}", &self.webhook_id)
            .replace("{session_id}", &self.session_id)
            .replace("{link_id}", &self.link_id)
            .replace("{provider}", "gitlab")
            .replace("{name}", "pope")
            .replace("{id}", "nobody-knows")
    }

    /// As a page of our own origin asks, which may read every answer.
    async fn send(&self, method: &Method, path: &str, body: Option<&Value>) -> Answer {
        let (url, headers) = (format!("{ISSUER}{path}"), [("x-requested-with", "fetch")]);
        let sent = self.root.fetch(ISSUER, method.clone(), &url, &headers, body);
        sent.await.unwrap()
    }

    /// Everything that could have changed, but for when somebody was last seen.
    async fn everything(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for (table, but) in [
            ("users", "{}"),
            ("oauth_links", "{}"),
            ("sessions", "{last_used_at,expires_at}"),
            ("consents", "{}"),
            ("grants", "{}"),
            ("oauth_clients", "{}"),
            ("webhooks", "{}"),
            ("events", "{}"),
            ("reserved_usernames", "{}"),
            ("held_usernames", "{}"),
            ("pending_identities", "{}"),
            ("audit_entries", "{}"),
        ] {
            let sql = format!("SELECT (to_jsonb(t) - '{but}'::text[])::text FROM {table} t ORDER BY 1");
            let found: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .fetch_all(self.op.db())
                .await
                .unwrap();
            rows.extend(found);
        }
        rows
    }
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if !TAGS.iter().any(|tag| operation["tags"][0] == **tag) {
                continue;
            }
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let in_query = parameters.iter().filter(|parameter| parameter["in"] == "query");
            found.push(Operation {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                takes_body: operation.get("requestBody").is_some(),
                query: in_query
                    .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
                    .collect(),
            });
        }
    }
    assert!(found.len() > 40, "{}", found.len());
    found
}

/// A body that would be taken, by operation.
async fn valid_body(world: &World, operation: &str) -> Value {
    match operation {
        "change_account" => json!({ "display_name": "Root" }),
        "rename_account" => json!({ "username": "another-root" }),
        "start_link" => json!({ "return_to": "https://pages.op.test/home" }),
        "confirm_link" => {
            wait_for_confirmation(&world.root, "google", "somebody new").await;
            let shown = world.root.call(Method::GET, "/auth/link/confirm", None).await;
            json!({ "confirmation_id": shown.is(200).json()["confirmation_id"] })
        }
        "disable_or_enable_user" => json!({ "disabled": true }),
        "change_role" => json!({ "role": "admin" }),
        "create_client" => json!({
            "name": "Notes", "client_type": "confidential", "redirect_uris": ["https://a.example/"],
            "post_logout_redirect_uris": ["https://a.example/out"], "scope": "phone",
            "backchannel_logout_uri": "https://a.example/logout", "backchannel_logout_session_required": true,
            "grant_types": ["authorization_code"], "auto_approve": false, "require_pkce": true,
            "token_endpoint_auth_method": "client_secret_post",
            "claims_in_id_token": true, "audience": "https://api.example/", "refresh_reuse_leeway_secs": 5,
        }),
        "change_client" => json!({
            "name": "Others", "redirect_uris": ["https://b.example/"], "post_logout_redirect_uris": ["https://b.example/out"],
            "backchannel_logout_uri": "https://b.example/logout", "scope": "phone", "auto_approve": true,
            "audience": "https://api.example/", "disabled": true, "refresh_reuse_leeway_secs": 6,
        }),
        "rotate_client_secret" | "rotate_webhook_secret" => json!({ "overlap_secs": 60 }),
        "create_webhook" => json!({
            "url": "https://other.example/", "description": "a hook", "event_types": ["user.created"],
            "client_id": world.client_id,
        }),
        "change_webhook" => json!({
            "url": "https://other.example/", "description": "a hook", "event_types": ["user.created"], "disabled": true,
        }),
        "redeliver" | "redeliver_logout" => json!({ "failed_since": "2020-01-01T00:00:00Z" }),
        "reserve_username" => json!({ "username": "king" }),
        other => panic!("say what body {other} takes"),
    }
}

/// AC-12, RS-2: each member of each body, with what is too long, of another type, invisible or unknown: refused, and not a
/// row has changed. In the end the body that was spoiled is taken, so it was the spoiling that was refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_with_one_thing_wrong_is_refused_everywhere_and_changes_nothing() {
    let world = World::start().await;
    let mut with_bodies = 0;
    for operation in &world.operations {
        if !operation.takes_body {
            continue;
        }
        with_bodies += 1;
        let valid = valid_body(&world, &operation.id).await;
        let path = world.existing(&operation.path);
        let before = world.everything().await;
        for body in spoiled(&valid) {
            let answer = world
                .root
                .call(operation.method.clone(), &path, Some(&body))
                .await;
            let shown: String = body.to_string().chars().take(300).collect();
            is_refused(&answer, &format!("{} {shown}", operation.id));
        }
        assert_eq!(world.everything().await, before, "{}", operation.id);
        let answer = world
            .root
            .call(operation.method.clone(), &path, Some(&valid))
            .await;
        assert!(answer.status.is_success(), "{}: {}", operation.id, answer.text);
    }
    assert!(with_bodies >= 13, "{with_bodies}");
}

/// Ids that name nothing, ids of other things and ids of others are one and the same: 404, the same words.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_names_nothing_of_ones_own_is_404_everywhere() {
    let world = World::start().await;
    let mut names: Vec<String> = [
        "0",
        "-1",
        "me",
        "null",
        "%00",
        "a%00b",
        "%ff",
        "%E2%80%AE",
        "%F0%9F%92%A9",
        "..%2f..%2fadmin",
        "%7B%7D",
        "'%20OR%20'1'='1",
        "*",
        "a;b=c",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("9".repeat(3000));
    names.push(Uuid::new_v4().to_string());
    let before = world.everything().await;
    let mut tried = 0;
    for operation in &world.operations {
        for parameter in parameters(&operation.path) {
            let (start, end) = operation.path.split_once(&format!("{{{parameter}}}")).unwrap();
            let (start, end) = (world.existing(start), world.existing(end));
            let mut own = names.clone();
            // What belongs to somebody else, or is another kind of thing.
            own.extend([
                world.session_id.clone(),
                world.client_id.clone(),
                world.user_id.clone(),
            ]);
            if operation.path.starts_with("/admin") {
                own.retain(|name| !world.existing(&format!("{{{parameter}}}")).eq(name));
            }
            let body = if operation.takes_body {
                Some(valid_body_for_nothing(&operation.id))
            } else {
                None
            };
            let mut seen = BTreeSet::new();
            for name in own {
                let path = format!("{start}{name}{end}");
                let answer = world
                    .root
                    .call(operation.method.clone(), &path, body.as_ref())
                    .await;
                assert_eq!(answer.status, 404, "{} {path}: {}", operation.id, answer.text);
                seen.insert(answer.text.clone());
                tried += 1;
            }
            assert_eq!(seen.len(), 1, "{}: {seen:?}", operation.id);
        }
    }
    assert!(tried > 250, "{tried}");
    assert_eq!(world.everything().await, before);
}

/// The names in braces.
fn parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('{')
        .skip(1)
        .map(|rest| rest.split_once('}').unwrap().0)
}

/// A body of the documented form, for paths that lead nowhere.
fn valid_body_for_nothing(operation: &str) -> Value {
    match operation {
        "disable_or_enable_user" | "change_webhook" => json!({ "disabled": true }),
        "change_role" => json!({ "role": "admin" }),
        "change_client" => json!({ "name": "Others" }),
        "redeliver" | "redeliver_logout" => json!({ "failed_since": "2020-01-01T00:00:00Z" }),
        _ => json!({}),
    }
}

/// What stands in a query is judged: no value of any parameter makes the server fail or changes anything, and a parameter that
/// nobody knows, or that comes twice, is refused.
#[tokio::test(flavor = "multi_thread")]
async fn no_query_makes_the_server_fail() {
    let world = World::start().await;
    let values = [
        "%00",
        "a%00b",
        "%ff",
        "%E2%80%AE",
        "9999-12-31T23:59:59-23:59",
        "-9999-01-01T00:00:00%2B23:59",
        "0000-01-01T00:00:00%2B23:59",
        "99999999999999999999",
        "-1",
        "%7B%22%24ne%22%3A1%7D",
        "'%3B--",
        "%25%25%25_",
        "%5C",
    ];
    let before = world.everything().await;
    let mut tried = 0;
    let ask = async |operation: &Operation, query: &str| {
        let path = format!("{}?{query}", world.existing(&operation.path));
        world.send(&operation.method, &path, None).await
    };
    for operation in world
        .operations
        .iter()
        .filter(|operation| operation.method == Method::GET)
    {
        for name in &operation.query {
            for value in values.iter().copied().chain([&*"a".repeat(5000)]) {
                let answer = ask(operation, &format!("{name}={value}")).await;
                assert!(
                    !answer.status.is_server_error(),
                    "{} {name}={value}: {}",
                    operation.id,
                    answer.text
                );
                tried += 1;
            }
            let twice = ask(operation, &format!("{name}=1&{name}=1")).await;
            is_refused(&twice, &format!("{} {name} twice", operation.id));
        }
        if operation.path.starts_with("/admin") && !operation.query.is_empty() {
            is_refused(&ask(operation, "unknown=1").await, &operation.id);
        }
    }
    assert!(tried > 150, "{tried}");
    assert_eq!(world.everything().await, before);
}

/// SE-4, AD-2: without a session every operation is 401, whatever is asked with it, and nothing says whether it would have
/// been understood.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_session_every_operation_gives_one_answer() {
    let world = World::start().await;
    let mut answers = BTreeSet::new();
    for operation in &world.operations {
        // What ends a session that may be over already, and what a newcomer is shown, need none.
        if ["sign_out", "show_onboarding", "finish_onboarding"].contains(&operation.id.as_str()) {
            continue;
        }
        for path in [
            world.existing(&operation.path),
            world.existing(&operation.path.replace('{', "%7B").replace('}', "%7D")),
        ] {
            for body in [None, Some("{}"), Some("[[["), Some("\u{0}")] {
                let mut request = world
                    .op
                    .request(operation.method.clone(), &path)
                    .header("x-requested-with", "fetch");
                if let Some(body) = body {
                    request = request.header("content-type", "application/json").body(body);
                }
                let answer = Answer::of(request).await;
                answer.refused_with(401, "unauthenticated");
                answers.insert(answer.text.clone());
            }
        }
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
}
