use reqwest::Method;
use serde_json::json;

use crate::common::provider::{ISSUER, PAGES};
use crate::common::raw::Reply;
use crate::common::{Answer, Browser, TestProvider, routes};

const WRITES: [Method; 4] = [Method::POST, Method::PATCH, Method::PUT, Method::DELETE];

/// Every route below `/admin`, and paths that nobody serves.
fn paths() -> Vec<String> {
    let served = routes::filled_in()
        .into_iter()
        .filter(|path| path.starts_with("/admin"));
    let unserved = [
        "/admin",
        "/admin/",
        "/admin/nothing",
        "/admin/users/",
        "/admin/users/1/2/3",
        "/admin/%00",
    ];
    served.chain(unserved.map(str::to_owned)).collect()
}

/// The request as a script of our own origin sends it, which needs no preflight.
async fn ask(browser: &Browser, method: Method, path: &str) -> Answer {
    let url = format!("{ISSUER}{path}");
    browser
        .fetch(ISSUER, method, &url, &[("x-requested-with", "fetch")], None)
        .await
        .unwrap()
}

/// AD-1, AD-2: without a session 401, without the role 403, on every path alike, and with every method; who has lost the role
/// is told the same as who never had it.
#[tokio::test]
async fn nobody_but_administrators_learns_anything() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let fallen = op.administrator("fallen").await;
    sqlx::query("UPDATE users SET role = 'user'")
        .execute(op.db())
        .await
        .unwrap();
    assert!(paths().len() > 15);
    for path in paths() {
        let mut seen = None;
        for method in [Method::GET, Method::from_bytes(b"BREW").unwrap()]
            .into_iter()
            .chain(WRITES)
        {
            Answer::of(op.request(method.clone(), &path))
                .await
                .refused_with(401, "unauthenticated");
            let refused = ask(&ada, method.clone(), &path).await;
            refused.refused_with(403, "forbidden");
            assert_eq!(ask(&fallen, method, &path).await.text, refused.text);
            let first = seen.get_or_insert_with(|| refused.text.clone());
            assert_eq!(*first, refused.text, "{path}");
        }
    }
    assert_eq!(op.trail_length().await, 0);
}

/// AD-2: ids that exist and ids that do not are all the same to those who may not ask.
#[tokio::test]
async fn an_existing_id_and_a_missing_one_are_refused_alike() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let app = op.client().await;
    let existing = [
        format!("/admin/users/{}", ada.user_id().await),
        format!("/admin/clients/{}", app.client_id()),
    ];
    let missing = [
        "/admin/users/2b1fd1ae-6a47-4c07-8d07-3c6bd2c5b4a1",
        "/admin/clients/nobody",
    ];
    for (existing, missing) in existing.iter().zip(missing) {
        let answers = [
            ask(&ada, Method::GET, existing).await,
            ask(&ada, Method::GET, missing).await,
        ];
        for answer in &answers {
            answer.refused_with(403, "forbidden");
        }
        assert_eq!(answers[0].text, answers[1].text);
        let names = |answer: &Answer| answer.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&answers[0]), names(&answers[1]));
    }
}

/// AD-2: a megabyte of garbage is 403 to those who may not ask, and 413 to those who may: nothing is read before.
#[tokio::test]
async fn a_body_is_not_read_before_its_sender_is_judged() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    let root = op.administrator("root").await;
    for (browser, status) in [(None, 401), (Some(&ada), 403), (Some(&root), 413)] {
        let cookie = browser.map_or_else(String::new, |browser| {
            format!(
                "Cookie: __Host-auth_refresh={}\r\n",
                browser.cookie("refresh").unwrap()
            )
        });
        let head = format!(
            "POST /admin/clients HTTP/1.1\r\nHost: op.test\r\nConnection: close\r\n{cookie}Sec-Fetch-Site: same-origin\r\n\
             Content-Type: application/json\r\nContent-Length: 1048576\r\n\r\n"
        );
        let request = [head.as_bytes(), &vec![0xff; 1 << 20]].concat();
        assert_eq!(Reply::to(op.address(), &request).await.status, status);
    }
    // 256 KiB are read, and then are no registration.
    let long = json!({ "name": "a".repeat(200 * 1024), "redirect_uris": ["https://a.example/"] });
    root.send(Method::POST, "/admin/clients", &long)
        .await
        .refused_with(400, "invalid_client");
    let longer = json!({ "name": "a".repeat(300 * 1024), "redirect_uris": ["https://a.example/"] });
    root.send(Method::POST, "/admin/clients", &longer).await.is(413);
}

/// AD-1, SE-9: a token of an administrator opens nothing, in whatever place it stands.
#[tokio::test]
async fn tokens_of_an_administrator_do_not_open_the_administration() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let app = op.client().await;
    let tokens = app.tokens_of(&root, "root", "openid").await;
    let access_cookie = root.cookie("access").unwrap();
    for token in [
        tokens.access_token.as_str(),
        tokens.id(),
        tokens.refresh(),
        &access_cookie,
    ] {
        let bearer = op.request(Method::GET, "/admin/users").bearer_auth(token);
        Answer::of(bearer).await.refused_with(401, "unauthenticated");
        let cookie = op.request(Method::GET, "/admin/users").header(
            "cookie",
            format!("__Host-auth_refresh={token}; __Host-auth_access={access_cookie}"),
        );
        Answer::of(cookie).await.refused_with(401, "unauthenticated");
    }
}

/// SE-4: who is demoted, disabled or signed out has lost the administration at the next request.
#[tokio::test]
async fn the_role_is_read_at_every_request() {
    let op = TestProvider::start().await;
    let (root, other) = (op.administrator("root").await, op.administrator("other").await);
    let id = other.user_id().await;
    let role = format!("/admin/users/{id}/role");
    other.read("/admin/users").await;
    root.send(Method::PATCH, &role, &json!({ "role": "user" }))
        .await
        .is(200);
    ask(&other, Method::GET, "/admin/users")
        .await
        .refused_with(403, "forbidden");
    root.send(Method::PATCH, &role, &json!({ "role": "admin" }))
        .await
        .is(200);
    other.read("/admin/users").await;
    root.remove(&format!("/admin/users/{id}/sessions")).await.is(204);
    ask(&other, Method::GET, "/admin/users")
        .await
        .refused_with(401, "unauthenticated");
}

/// SE-5: what changes something is refused to forged requests, and nothing has changed.
#[tokio::test]
async fn a_forged_request_changes_nothing() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    for path in paths()
        .iter()
        .filter(|path| path.starts_with("/admin/users/") || path.contains("clients"))
    {
        for method in WRITES {
            let cookie = format!("__Host-auth_refresh={}", root.cookie("refresh").unwrap());
            for (name, value) in [
                ("origin", "https://evil.example"),
                ("sec-fetch-site", "same-site"),
            ] {
                let request = op
                    .request(method.clone(), path)
                    .header("cookie", &cookie)
                    .header(name, value);
                let answer = Answer::of(request.json(&json!({}))).await;
                match answer.status.as_u16() {
                    403 => answer.refused_with(403, "csrf_refused"),
                    // The path has no such method.
                    404 | 405 => {}
                    other => panic!("{method} {path}: {other}"),
                }
            }
        }
    }
    assert_eq!(op.trail_length().await, 0);
}

/// SE-5: an override in a header or in the body changes no method.
#[tokio::test]
async fn a_method_is_not_overridden() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let path = format!("/admin/users/{}", root.user_id().await);
    let url = format!("{ISSUER}{path}?_method=DELETE");
    let headers = [
        ("x-requested-with", "fetch"),
        ("x-http-method-override", "DELETE"),
    ];
    let answer = root
        .fetch(ISSUER, Method::POST, &url, &headers, None)
        .await
        .unwrap();
    answer.refused_with(405, "method_not_allowed");
    root.read(&path).await;
}

/// The deployer's own pages administrate from their origin; no other page may read an answer, and preflights need no session.
#[tokio::test]
async fn only_first_party_pages_call_the_administration() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let url = format!("{ISSUER}/admin/users");
    let own = root
        .fetch(&format!("{PAGES}/admin"), Method::GET, &url, &[], None)
        .await
        .unwrap();
    own.is(200).is_not_stored();
    assert!(
        root.fetch("https://app.test/", Method::GET, &url, &[], None)
            .await
            .is_err()
    );
    let foreign = root
        .fetch(
            "https://evil.op.test/",
            Method::PATCH,
            &url,
            &[("x-requested-with", "fetch")],
            None,
        )
        .await;
    assert!(foreign.is_err());
}

/// AD-3: spellings of a path that somebody could take for `/admin` reach no handler.
#[tokio::test]
async fn path_tricks_reach_no_handler() {
    let op = TestProvider::start().await;
    let (ada, root) = (op.signed_in("ada").await, op.administrator("root").await);
    let cookie = |browser: &Browser| browser.cookie("refresh").unwrap();
    let tricks = [
        "//admin/users",
        "/admin//users",
        "/admin/users/",
        "/%61dmin/users",
        "/admin%2fusers",
        "/admin;x/users",
        "/admin/users;x",
        "/ADMIN/users",
        "/Admin/Users",
        "/./admin/users",
        "/x/../admin/users",
        "/auth/../admin/users",
        "/auth/..%2fadmin/users",
        "/admin/./users",
        "/admin/users/.",
        "/admin/users/..",
        "/admin/users%00",
        "/admin\\users",
        "https://op.test/ADMIN/users",
    ];
    for trick in tricks {
        for who in [None, Some(&ada), Some(&root)] {
            let cookie = who.map_or_else(String::new, |who| {
                format!("Cookie: __Host-auth_refresh={}\r\n", cookie(who))
            });
            let request =
                format!("GET {trick} HTTP/1.1\r\nHost: op.test\r\nConnection: close\r\n{cookie}\r\n");
            let reply = Reply::to(op.address(), request.as_bytes()).await;
            assert!((400..500).contains(&reply.status), "{trick}: {reply:?}");
            assert!(!reply.body.contains("items"), "{trick}: {reply:?}");
        }
    }
}

/// AD-4, AC-12: a body names what is to change and nothing else; the target stands in the path alone.
#[tokio::test]
async fn members_that_are_not_documented_are_refused() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let ada = op.signed_in("ada").await;
    let (root_id, ada_id) = (root.user_id().await, ada.user_id().await);
    let client_id = op.client().await.client_id().to_owned();
    let user = format!("/admin/users/{ada_id}");
    let role = format!("/admin/users/{ada_id}/role");
    let client = format!("/admin/clients/{client_id}");
    let cases = [
        (&role, json!({ "role": "admin", "user_id": root_id })),
        (&role, json!({ "role": "root" })),
        (&role, json!({ "role": ["admin"] })),
        (&role, json!({})),
        (&user, json!({ "disabled": true, "role": "admin" })),
        (&user, json!({ "disabled": "true" })),
        (&user, json!({ "disabled": null })),
        (&user, json!({ "username": "eve" })),
        (&user, json!([true])),
        (&client, json!({ "client_id": "other" })),
        (&client, json!({ "client_secret": "mine" })),
        (&client, json!({ "client_type": "public" })),
        (&client, json!({ "generation": 1 })),
        (&client, json!({ "name": null })),
        (&client, json!({ "name": "a\u{0}b" })),
    ];
    for (path, body) in cases {
        root.send(Method::PATCH, path, &body)
            .await
            .refused_with(400, "invalid_request");
    }
    assert_eq!(op.trail_length().await, 0);
    assert_eq!(root.read(&user).await["role"], "user");
}

/// Ids of any other form name nothing, and no input makes the server fail.
#[tokio::test]
async fn ids_of_another_form_name_nothing() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    let id = root.user_id().await;
    let ids = [
        "0",
        "-1",
        "me",
        "%00",
        "%ff",
        "a%00b",
        "%F0%9F%92%A9",
        "%E2%80%AE",
        "'%20OR%20'1'='1",
        &format!("%7B{id}%7D"),
        &format!("urn:uuid:{id}"),
        &id.replace('-', ""),
        &"9".repeat(5000),
    ]
    .map(str::to_owned);
    for id in &ids {
        for path in ["users", "clients", "errors"] {
            let answer = ask(&root, Method::GET, &format!("/admin/{path}/{id}")).await;
            answer.refused_with(404, "not_found");
        }
        ask(&root, Method::DELETE, &format!("/admin/reserved-usernames/{id}"))
            .await
            .refused_with(404, "not_found");
        ask(&root, Method::DELETE, &format!("/admin/clients/{id}"))
            .await
            .refused_with(404, "not_found");
    }
}

/// AD-5: limits are 1 to 500, orders are named, cursors are our own, and no parameter is unknown or doubled.
#[tokio::test]
async fn lists_are_bounded_and_their_parameters_judged() {
    let op = TestProvider::start().await;
    let root = op.administrator("root").await;
    for list in ["users", "clients", "reserved-usernames", "audit"] {
        root.read(&format!("/admin/{list}?limit=500")).await;
        for query in [
            "limit=0",
            "limit=501",
            "limit=-1",
            "limit=1.5",
            "limit=",
            "limit=99999999999999999999",
            "limit=1&limit=2",
            "offset=-1",
            "order=name",
            "sort=password",
            "x=%00",
            "limit=1%00",
            "cursor=%00",
        ] {
            ask(&root, Method::GET, &format!("/admin/{list}?{query}"))
                .await
                .refused_with(400, "invalid_request");
        }
        for cursor in ["", "x", "e30", "bnVsbA", "WyJcdTAwMDAiLCJ4Il0", "%22", "MQ%3D%3D"] {
            let answer = ask(&root, Method::GET, &format!("/admin/{list}?cursor={cursor}")).await;
            assert!(
                answer.status == 400 || answer.status == 200,
                "{list} {cursor}: {}",
                answer.text
            );
            if answer.status == 400 {
                answer.refused_with(400, "invalid_cursor");
            }
        }
    }
    for query in [
        "sort=users.role",
        "sort=created_at;--",
        "role=root",
        "user_id=1",
        "disabled=maybe",
    ] {
        ask(&root, Method::GET, &format!("/admin/users?{query}"))
            .await
            .refused_with(400, "invalid_request");
    }
    for query in [
        "actor=eve",
        "action=coup",
        "from=yesterday",
        "until=1",
        "actor_user_id=x",
    ] {
        ask(&root, Method::GET, &format!("/admin/audit?{query}"))
            .await
            .refused_with(400, "invalid_request");
    }
}

/// A role in the body of a sign-up changes nothing: an account starts as a user.
#[tokio::test]
async fn a_new_account_is_no_administrator() {
    let op = TestProvider::start().await;
    let ada = op.signed_in("ada").await;
    assert_eq!(ada.me().await.is(200).json()["role"], "user");
}
