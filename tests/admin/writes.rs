//! Every write of the administration, in one table: what it needs, and what it leaves in the trail.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::cookies::Context;
use crate::common::provider::ISSUER;
use crate::common::raw::Reply;
use crate::common::routes::tricks;
use crate::common::tables::{LAST_SEEN, all_rows};
use crate::common::{Answer, Browser, TestProvider};

/// What no request does, and who does.
const ACTIONS_OF_OTHERS: [(&str, &str); 3] = [
    ("account_merged", "a sign-in, by the configuration"),
    ("everything_revoked", "the command line"),
    ("user_exported", "the command line"),
];

/// A request that would succeed, and the one entry that it leaves.
pub(crate) struct Write {
    /// The operation's name in the document.
    pub(crate) operation: &'static str,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
    /// What it leaves in the trail.
    pub(crate) action: &'static str,
    target_kind: &'static str,
    target_id: TargetId,
}

enum TargetId {
    Known(String),
    /// What is made has its id in this member of the answer.
    Told(&'static str),
}

impl Write {
    /// As a page of the deployer's sends it.
    pub(crate) async fn send(&self, browser: &Browser) -> Answer {
        browser
            .call(self.method.clone(), &self.path, self.body.as_ref())
            .await
    }
}

/// Everything that administrators can write to, ready to be written.
pub(crate) struct World {
    pub(crate) op: TestProvider,
    ada: String,
    client_id: String,
    webhook_id: String,
    /// An identity that was merged into ada's account.
    merged_link: Uuid,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::on(TestProvider::start().await).await
    }

    async fn on(op: TestProvider) -> Self {
        // Whoever falls is not the last one.
        let staying = op.administrator("staying").await;
        let ada = op.signed_in("ada").await.user_id().await;
        let merged_link: Uuid = sqlx::query_scalar(
            "INSERT INTO oauth_links (link_id, user_id, provider, issuer, subject, merged_at, created_at, last_login_at)
             SELECT gen_random_uuid(), user_id, 'google', 'https://accounts.google.com', '1', now(), now(), now()
             FROM users WHERE user_id = $1::text::uuid RETURNING link_id",
        )
        .bind(&ada)
        .fetch_one(op.db())
        .await
        .unwrap();
        let client_id = op.client().await.client_id().to_owned();
        let made =
            async |path: &str, body: Value| staying.send(Method::POST, path, &body).await.is(201).json();
        let webhook = made(
            "/admin/webhooks",
            json!({ "url": "https://hook.example/", "event_types": ["webhook.ping"] }),
        )
        .await;
        made("/admin/reserved-usernames", json!({ "username": "pope" })).await;
        let webhook_id = webhook["webhook_id"].as_str().unwrap().to_owned();
        Self {
            op,
            ada,
            client_id,
            webhook_id,
            merged_link,
        }
    }

    /// Every row of every table.
    pub(crate) async fn everything(&self) -> Vec<String> {
        all_rows(self.op.db(), &[]).await
    }

    /// Every write. One after the other, they all succeed.
    pub(crate) fn writes(&self) -> Vec<Write> {
        [
            self.to_accounts(),
            self.to_apps(),
            self.to_webhooks(),
            Self::to_names(),
            self.removals(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn user(&self, rest: &str) -> String {
        format!("/admin/users/{}{rest}", self.ada)
    }

    fn client(&self, rest: &str) -> String {
        format!("/admin/clients/{}{rest}", self.client_id)
    }

    fn webhook(&self, rest: &str) -> String {
        format!("/admin/webhooks/{}{rest}", self.webhook_id)
    }

    fn to_accounts(&self) -> Vec<Write> {
        let write = |operation, method, path, body, action| Write {
            operation,
            method,
            path,
            body,
            action,
            target_kind: "user",
            target_id: TargetId::Known(self.ada.clone()),
        };
        let disabled = |disabled: bool| Some(json!({ "disabled": disabled }));
        let change = "disable_or_enable_user";
        let role = Some(json!({ "role": "admin" }));
        vec![
            write(
                change,
                Method::PATCH,
                self.user(""),
                disabled(true),
                "user_disabled",
            ),
            write(
                change,
                Method::PATCH,
                self.user(""),
                disabled(false),
                "user_enabled",
            ),
            write(
                "change_role",
                Method::PATCH,
                self.user("/role"),
                role,
                "user_role_changed",
            ),
            write(
                "revoke_user_sessions",
                Method::DELETE,
                self.user("/sessions"),
                None,
                "user_sessions_revoked",
            ),
            write(
                "unmerge_link",
                Method::POST,
                self.user(&format!("/links/{}/unmerge", self.merged_link)),
                None,
                "account_unmerged",
            ),
        ]
    }

    fn to_apps(&self) -> Vec<Write> {
        let write = |operation, method, path, body, action| Write {
            operation,
            method,
            path,
            body: Some(body),
            action,
            target_kind: "client",
            target_id: TargetId::Known(self.client_id.clone()),
        };
        let app = json!({ "name": "Notes", "redirect_uris": ["https://a.example/"] });
        let since = json!({ "failed_since": "2020-01-01T00:00:00Z" });
        let list = "/admin/clients".to_owned();
        vec![
            Write {
                target_id: TargetId::Told("client_id"),
                ..write("create_client", Method::POST, list, app, "client_created")
            },
            write(
                "change_client",
                Method::PATCH,
                self.client(""),
                json!({ "name": "Other" }),
                "client_updated",
            ),
            write(
                "rotate_client_secret",
                Method::POST,
                self.client("/secret"),
                json!({}),
                "client_secret_rotated",
            ),
            write(
                "redeliver_logout",
                Method::POST,
                self.client("/redeliver"),
                since,
                "logout_redelivered",
            ),
        ]
    }

    fn to_webhooks(&self) -> Vec<Write> {
        let write = |operation, method, path, body, action| Write {
            operation,
            method,
            path,
            body,
            action,
            target_kind: "webhook",
            target_id: TargetId::Known(self.webhook_id.clone()),
        };
        let body = |body: Value| Some(body);
        let hook = body(json!({ "url": "https://other.example/" }));
        let since = body(json!({ "failed_since": "2020-01-01T00:00:00Z" }));
        let list = "/admin/webhooks".to_owned();
        vec![
            Write {
                target_id: TargetId::Told("webhook_id"),
                ..write("create_webhook", Method::POST, list, hook, "webhook_created")
            },
            write(
                "change_webhook",
                Method::PATCH,
                self.webhook(""),
                body(json!({ "disabled": true })),
                "webhook_updated",
            ),
            write(
                "rotate_webhook_secret",
                Method::POST,
                self.webhook("/secret"),
                body(json!({})),
                "webhook_secret_rotated",
            ),
            write(
                "redeliver",
                Method::POST,
                self.webhook("/redeliver"),
                since,
                "webhook_redelivered",
            ),
            write(
                "ping_webhook",
                Method::POST,
                self.webhook("/ping"),
                None,
                "webhook_pinged",
            ),
        ]
    }

    fn to_names() -> Vec<Write> {
        let write = |operation, method, path: &str, body, action, name: &str| Write {
            operation,
            method,
            path: path.to_owned(),
            body,
            action,
            target_kind: "reserved_username",
            target_id: TargetId::Known(name.to_owned()),
        };
        let list = "/admin/reserved-usernames";
        let pope = "/admin/reserved-usernames/pope";
        // Kept in lower case.
        let king = Some(json!({ "username": "King" }));
        vec![
            write(
                "reserve_username",
                Method::POST,
                list,
                king,
                "username_reserved",
                "king",
            ),
            write(
                "release_username",
                Method::DELETE,
                pope,
                None,
                "username_released",
                "pope",
            ),
        ]
    }

    fn removals(&self) -> Vec<Write> {
        let removal = |operation, path, action, target_kind, id: &String| Write {
            operation,
            method: Method::DELETE,
            path,
            body: None,
            action,
            target_kind,
            target_id: TargetId::Known(id.clone()),
        };
        vec![
            removal(
                "remove_webhook",
                self.webhook(""),
                "webhook_deleted",
                "webhook",
                &self.webhook_id,
            ),
            removal(
                "delete_client",
                self.client(""),
                "client_deleted",
                "client",
                &self.client_id,
            ),
            removal("delete_user", self.user(""), "user_deleted", "user", &self.ada),
        ]
    }
}

/// The table is whole: every operation of the administration that is no GET stands in it.
#[tokio::test]
async fn every_write_of_the_administration_is_in_the_table() {
    let world = World::start().await;
    let document = world.op.get("/openapi.json").await.is(200).json();
    let paths = document["paths"].as_object().unwrap();
    let documented: BTreeSet<&str> = paths
        .iter()
        .filter(|(path, _)| path.starts_with("/admin"))
        .flat_map(|(_, operations)| operations.as_object().unwrap())
        .filter(|(method, _)| ["post", "put", "patch", "delete"].contains(&method.as_str()))
        .map(|(_, operation)| operation["operationId"].as_str().unwrap())
        .collect();
    let listed: BTreeSet<&str> = world.writes().iter().map(|write| write.operation).collect();
    assert_eq!(listed, documented);
}

/// AD-8, AU-1: every write leaves exactly one entry: what was done, on whom or what, by whom, from where and when. Every action
/// that the document names is left by one of them, but for those that no request does.
#[tokio::test]
async fn every_write_leaves_one_entry_that_tells_who_did_what_on_whom_from_where_and_when() {
    let world = World::start().await;
    let (op, root) = (&world.op, world.op.administrator("root").await);
    let root_id = root.user_id().await;
    let mut seen: BTreeSet<String> = ACTIONS_OF_OTHERS
        .iter()
        .map(|(action, _)| (*action).to_owned())
        .collect();
    for write in world.writes() {
        op.advance_secs(60);
        let (length, from) = (op.trail_length().await, op.clock().now());
        let answer = write.send(&root).await;
        let until = op.clock().now();
        assert!(answer.status.is_success(), "{}: {}", write.operation, answer.text);
        assert_eq!(op.trail_length().await, length + 1, "{}", write.operation);
        let entry = root.read("/admin/audit?limit=1").await["items"][0].take();
        let target_id = match &write.target_id {
            TargetId::Known(id) => id.clone(),
            TargetId::Told(member) => answer.json()[member].as_str().unwrap().to_owned(),
        };
        for (member, expected) in [
            ("sequence", json!(length + 1)),
            ("action", json!(write.action)),
            ("target_kind", json!(write.target_kind)),
            ("target_id", json!(target_id)),
            ("actor", json!("user")),
            ("actor_user_id", json!(root_id)),
            ("ip_address", json!("127.0.0.1")),
        ] {
            assert_eq!(
                entry[member], expected,
                "{} of {}: {entry}",
                member, write.operation
            );
        }
        let is_named = write.target_kind == "user" && write.action != "user_deleted";
        let name = if is_named { json!("ada") } else { Value::Null };
        assert_eq!(entry["target_username"], name, "{entry}");
        let at = riley_auth::clock::written_moment(entry["created_at"].as_str().unwrap()).unwrap();
        assert!(
            from < at && at < until,
            "{}: {from} {at} {until}",
            write.operation
        );
        assert!(seen.insert(write.action.to_owned()) || write.operation != "change_role");
    }
    let document = op.get("/openapi.json").await.is(200).json();
    let parameters = document["paths"]["/admin/audit"]["get"]["parameters"]
        .as_array()
        .unwrap();
    let action = parameters
        .iter()
        .find(|parameter| parameter["name"] == "action")
        .unwrap();
    assert_eq!(seen, names(&action["schema"]));
}

/// The texts of every `enum` in a schema.
fn names(schema: &Value) -> BTreeSet<String> {
    match schema {
        Value::Object(members) => {
            let own = members
                .get("enum")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            let own = own.filter_map(Value::as_str).map(str::to_owned);
            own.chain(members.values().flat_map(names)).collect()
        }
        Value::Array(items) => items.iter().flat_map(names).collect(),
        _ => BTreeSet::new(),
    }
}

/// Where somebody came from is what the proxy says, where one is configured, and not what the client wrote to its left; where
/// none is, nobody's word counts.
#[tokio::test]
async fn the_address_in_the_trail_is_the_one_that_a_trusted_proxy_names() {
    for (behind_proxy, address) in [(true, "203.0.113.7"), (false, "127.0.0.1")] {
        let op = TestProvider::with(|config| config.server.behind_proxy = behind_proxy).await;
        let root = op.administrator("root").await;
        let url = format!("{ISSUER}/admin/reserved-usernames");
        let headers = [
            ("x-requested-with", "fetch"),
            ("x-forwarded-for", "198.51.100.1, 203.0.113.7"),
        ];
        let body = json!({ "username": "pope" });
        let answer = root
            .fetch(ISSUER, Method::POST, &url, &headers, Some(&body))
            .await;
        answer.unwrap().is(201);
        let entry = root.read("/admin/audit?limit=1").await["items"][0].take();
        assert_eq!(entry["ip_address"], address, "{entry}");
    }
}

/// AD-2: whoever may not ask is told one and the same, whatever they send: what is no JSON, what is not said to be, nothing at
/// all; with or without what tells their request from a forged one. The ids exist, and not a row has changed.
#[tokio::test]
async fn a_write_of_somebody_who_may_not_is_judged_before_anything_of_it_is_read() {
    let world = World::start().await;
    let mallory = world.op.signed_in("mallory").await;
    let cookie = format!("__Host-auth_refresh={}", mallory.cookie("refresh").unwrap());
    let before = all_rows(world.op.db(), LAST_SEEN).await;
    let mut answers = BTreeSet::new();
    for write in world.writes() {
        let valid = write.body.as_ref().map(Value::to_string).unwrap_or_default();
        for body in ["[[[", "", "\u{0}", "{\"role\":", "{\"unknown\":1}", &valid] {
            for kind in [None, Some("application/json"), Some("text/plain")] {
                for forged in [false, true] {
                    let mut request = world
                        .op
                        .request(write.method.clone(), &write.path)
                        .header("cookie", &cookie)
                        .body(body.to_owned());
                    if let Some(kind) = kind {
                        request = request.header("content-type", kind);
                    }
                    if !forged {
                        request = request.header("x-requested-with", "fetch");
                    }
                    let answer = Answer::of(request).await;
                    answer.refused_with(403, "forbidden");
                    answers.insert(answer.text);
                }
            }
        }
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(all_rows(world.op.db(), LAST_SEEN).await, before);
}

/// AD-3: spellings of a path that somebody could take for it reach no handler, with the method of each write, with the session
/// of an administrator and a body that would be taken. Without the trick each is done.
#[tokio::test]
async fn a_write_with_a_trick_in_its_path_is_not_done() {
    let world = World::start().await;
    let root = world.op.administrator("root").await;
    let url = url::Url::parse(ISSUER).unwrap();
    let cookies = root
        .jar()
        .header(&url, Context::SameSite, world.op.clock().now())
        .unwrap();
    for write in world.writes() {
        let body = write.body.as_ref().map(Value::to_string).unwrap_or_default();
        let send = async |path: &str| {
            let request = format!(
                "{} {path} HTTP/1.1\r\nHost: op.test\r\nConnection: close\r\nCookie: {cookies}\r\n\
                 Sec-Fetch-Site: same-origin\r\nX-Requested-With: fetch\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                write.method,
                body.len(),
            );
            Reply::to(world.op.address(), request.as_bytes()).await
        };
        let before = all_rows(world.op.db(), LAST_SEEN).await;
        for trick in tricks(&write.path) {
            let reply = send(&trick).await;
            assert!(
                (400..500).contains(&reply.status),
                "{} {trick}: {reply:?}",
                write.operation
            );
        }
        assert_eq!(
            all_rows(world.op.db(), LAST_SEEN).await,
            before,
            "{}",
            write.operation
        );
        let reply = send(&write.path).await;
        assert!(
            (200..300).contains(&reply.status),
            "{}: {reply:?}",
            write.operation
        );
        assert_ne!(
            all_rows(world.op.db(), LAST_SEEN).await,
            before,
            "{}",
            write.operation
        );
    }
}
