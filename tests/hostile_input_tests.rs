//! Input that nobody sends by accident, to every route: no answer is a failure of ours, every refusal has its shape, and
//! nothing that was sent comes back unescaped. The generator is seeded, so a failure repeats.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use common::raw::Reply;
use common::{Browser, TestClient, TestProvider};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// In every hostile text; whoever finds it as it is in an answer has found a hole.
const MARK: &str = "<q\"'hostile>";
const METHODS: [&str; 9] = [
    "GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW",
];
const REQUESTS_PER_ROUTE: usize = 150;
const SEED: u64 = 0x5eed_0001;

/// `SplitMix64`: short, and the same everywhere.
struct Generator(u64);

impl Generator {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// Percent-encoded, so that it can stand in a query or a form.
    fn value(&mut self, world: &World) -> String {
        let mark = "%3Cq%22'hostile%3E";
        match self.below(14) {
            0 => format!("%00{mark}"),
            1 => format!("%FF%FE{mark}"),
            2 => format!("%ED%A0%80{mark}"),
            3 => format!("%0d%0aSet-Cookie:%20a=b{mark}"),
            4 => format!("{mark}{}", "A".repeat(self.below(6000))),
            5 => "%".to_owned(),
            6 => "%F0%9F%92%A9%E2%80%AE".to_owned(),
            7 => (*self.one(&[
                "",
                "0",
                "-1",
                "99999999999999999999",
                "null",
                "{}",
                "[[[[",
                "1e999",
            ]))
            .to_owned(),
            8 => format!("https%3A%2F%2Fevil.test%2F{mark}"),
            9 => format!("eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.{mark}"),
            _ => world.known(self).to_owned(),
        }
    }

    fn form(&mut self, world: &World) -> String {
        let names = [
            "client_id",
            "redirect_uri",
            "response_type",
            "response_mode",
            "scope",
            "state",
            "nonce",
            "prompt",
            "max_age",
            "claims",
            "request",
            "request_uri",
            "id_token_hint",
            "login_hint",
            "code_challenge",
            "code_challenge_method",
            "code",
            "code_verifier",
            "grant_type",
            "refresh_token",
            "token",
            "token_type_hint",
            "client_secret",
            "access_token",
            "consent_id",
            "request_id",
            "return_to",
            "error",
            "username",
            "%00",
            "%3Cq%22'hostile%3E",
            "approved",
            "limit",
            "cursor",
            "post_logout_redirect_uri",
        ];
        let mut form = String::new();
        for _ in 0..self.below(9) {
            let (name, value) = (self.one(&names), self.value(world));
            let _ = write!(form, "{name}={value}&");
        }
        form
    }

    fn json(&mut self, world: &World) -> String {
        match self.below(6) {
            0 => "[".repeat(20_000),
            1 => r#"{"consent_id":"\ud800","approved":true,"username":"\u0000"}"#.to_owned(),
            2 => format!(
                r#"{{"username":"<q\"'hostile>","consent_id":{},"approved":"x"}}"#,
                self.next()
            ),
            3 => r#"{"username":{"a":[null,1e308]},"consent_id":[],"approved":null}"#.to_owned(),
            4 => "\u{0}".to_owned(),
            _ => format!(
                r#"{{"consent_id":"{0}","approved":true,"username":"{0}"}}"#,
                world.known(self)
            ),
        }
    }

    fn headers(&mut self, world: &World) -> String {
        let hostile = [
            "Authorization: Basic %%%",
            "Authorization: Basic OjoAOg==",
            "Authorization: Basic gICAgDqAgIA=",
            "Authorization: Bearer <q\"'hostile>",
            "Authorization: bearer",
            "Authorization: \u{e9}\u{1F4A9}",
            "Cookie: __Host-auth_refresh=<q\"'hostile>",
            "Cookie: =;;;=x; __Host-auth_browser=\u{e9}",
            "Origin: null",
            "Origin: https://evil.test",
            "Sec-Fetch-Site: same-origin",
            "X-Requested-With: x",
            "X-Request-Id: <q\"'hostile>",
            "X-Forwarded-For: <q\"'hostile>,,,",
            "X-Forwarded-Host: evil.test",
            "Accept: text/html",
            "Accept: application/json;q=\u{e9}",
            "If-None-Match: W/\"",
            "Range: bytes=0-,-1",
            "Expect: 200-maybe",
            "Accept-Language: \u{e9}",
            "User-Agent: \u{1b}[31m<q\"'hostile>",
        ];
        let mut headers = String::new();
        for _ in 0..self.below(5) {
            let _ = write!(headers, "{}\r\n", self.one(&hostile));
        }
        let honest = match self.below(8) {
            0..4 => format!("Cookie: {}\r\nSec-Fetch-Site: same-origin\r\n", world.cookies()),
            4 => format!("Authorization: Bearer {}\r\n", world.access_token),
            5 => format!("Authorization: {}\r\n", world.basic()),
            _ => String::new(),
        };
        headers + &honest
    }
}

/// A provider with everything that makes input go deep: a client, a live session, tokens.
struct World {
    op: TestProvider,
    app: TestClient,
    browser: Browser,
    access_token: String,
    known: Vec<String>,
}

impl World {
    async fn new() -> Self {
        let op = TestProvider::start().await;
        let app = op.client().await;
        let browser = op.browser();
        let mut world = Self {
            op,
            app,
            browser,
            access_token: String::new(),
            known: Vec::new(),
        };
        world.renew("/").await;
        world
    }

    /// Sessions and tokens that nothing has ended yet, of an administrator where only such get in.
    async fn renew(&mut self, route: &str) {
        self.browser = if route.starts_with("/admin") {
            self.op.administrator("root").await
        } else {
            self.op.signed_in("alice").await
        };
        // Of somebody who does not sign out.
        let elsewhere = self.op.browser();
        let scope = "openid profile offline_access";
        let tokens = self.app.tokens_of(&elsewhere, "bob", scope).await;
        let known = [
            self.app.client_id(),
            self.app.secret(),
            "https%3A%2F%2Fapp.test%2Fcallback",
            "code",
            "openid",
            "none",
            "login",
            "form_post",
            "S256",
            "authorization_code",
            "refresh_token",
            tokens.refresh(),
            &tokens.access_token,
        ];
        self.known = known.map(str::to_owned).to_vec();
        self.access_token = tokens.access_token;
    }

    /// The browser's, as it sends them.
    fn cookies(&self) -> String {
        let url = url::Url::parse("https://op.test/").unwrap();
        let now = self.op.clock().now();
        let jar = self.browser.jar();
        jar.header(&url, common::cookies::Context::SameSite, now).unwrap()
    }

    fn known(&self, generator: &mut Generator) -> &str {
        &self.known[generator.below(self.known.len())]
    }

    fn basic(&self) -> String {
        common::app::basic(self.app.client_id(), self.app.secret())
    }

    async fn send(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Reply {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: op.test\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        Reply::to(self.op.address(), &[head.as_bytes(), body].concat()).await
    }

    /// One generated request to a path, judged.
    async fn attack(&self, path: &str, generator: &mut Generator) -> Reply {
        let method = generator.one(&METHODS);
        let query = generator.form(self);
        let target = if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{query}")
        };
        let (content_type, body) = match generator.below(5) {
            0 => ("application/json", generator.json(self)),
            1 => ("multipart/form-data; boundary=x", generator.form(self)),
            2 => ("", generator.form(self)),
            _ => ("application/x-www-form-urlencoded", generator.form(self)),
        };
        let mut headers = generator.headers(self);
        if !content_type.is_empty() {
            let _ = write!(headers, "Content-Type: {content_type}\r\n");
        }
        let reply = self.send(method, &target, &headers, body.as_bytes()).await;
        judge(&reply, method, &format!("{method} {target}\n{headers}\n{body}"));
        reply
    }
}

/// What holds for every answer.
fn judge(reply: &Reply, method: &str, request: &str) {
    assert!((200..500).contains(&reply.status), "{request}\n{reply:?}");
    assert!(!reply.body.contains(MARK), "reflected: {request}\n{reply:?}");
    for (name, value) in &reply.headers {
        assert!(
            !value.contains(MARK) && name != "set-cookie" || !value.starts_with("a=b"),
            "{request}\n{reply:?}"
        );
    }
    if reply.header("x-request-id").is_none() {
        // The HTTP library hung up before there was a request (RFC 9112 §2.2): no body, no guess at a shape.
        assert!(
            matches!(reply.status, 400 | 414 | 431) && reply.body.is_empty(),
            "{request}\n{reply:?}"
        );
        return;
    }
    if reply.status == 405 {
        let allow = reply.header("allow").unwrap_or_default();
        assert!(
            !allow.is_empty() && !allow.split(',').any(|one| one == method),
            "{request}\n{reply:?}"
        );
    }
    let is_page = reply
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("text/html"));
    if reply.status >= 400 && method != "HEAD" && !is_page {
        assert!(
            reply.error().is_some(),
            "not the shape of errors: {request}\n{reply:?}"
        );
    }
}

fn routes() -> BTreeSet<String> {
    common::routes::filled_in()
}

/// The list is whole: what the README of any OpenID provider would name is in it.
#[test]
fn the_list_of_routes_is_read_from_the_router() {
    let routes = routes();
    for route in [
        "/.well-known/openid-configuration",
        "/.well-known/jwks.json",
        "/oauth/authorize",
        "/oauth/authorize/resume",
        "/oauth/consent",
        "/oauth/token",
        "/oauth/userinfo",
        "/oauth/introspect",
        "/oauth/revoke",
        "/auth/simulated",
        "/auth/simulated/callback",
        "/auth/setup",
        "/auth/refresh",
        "/auth/logout",
        "/auth/me",
        "/health",
        "/ready",
    ] {
        assert!(routes.contains(route), "{route} is not in {routes:#?}");
    }
}

/// What ends the session that it is called with.
const ENDS_SESSIONS: [&str; 5] = [
    "/auth/logout",
    "/auth/logout-all",
    "/auth/me",
    "/auth/refresh",
    "/auth/sessions",
];

/// No 5xx is reachable by input alone, errors have one shape, and nothing is reflected: neither for strangers nor for somebody
/// who is signed in, an administrator where only such get in.
#[tokio::test]
async fn generated_input_to_every_route_is_answered_in_order() {
    let mut world = World::new().await;
    let mut generator = Generator(SEED);
    for route in routes() {
        world.renew(&route).await;
        let mut let_in = 0;
        for _ in 0..REQUESTS_PER_ROUTE {
            let reply = world.attack(&route, &mut generator).await;
            let_in += usize::from(!matches!(reply.status, 0 | 401 | 403));
            if ENDS_SESSIONS.contains(&route.as_str()) && !world.browser.is_signed_in().await {
                world.renew(&route).await;
            }
        }
        assert!(world.browser.is_signed_in().await, "{route} ended the session");
        // Below `/admin` nobody else is told anything but 401 and 403.
        assert!(!route.starts_with("/admin") || let_in > 30, "{route}: {let_in}");
    }
    world.op.get("/ready").await.is(200);
}

/// A known path has its methods, and says which.
#[tokio::test]
async fn another_method_is_405_with_allow() {
    let world = World::new().await;
    for route in routes() {
        for method in ["BREW", "TRACE", "PROPFIND"] {
            let reply = world.send(method, &route, "", b"").await;
            if route.starts_with("/admin") {
                // Strangers do not learn even which methods there are.
                assert_eq!(
                    (reply.status, reply.error().as_deref()),
                    (401, Some("unauthenticated"))
                );
                continue;
            }
            assert_eq!(
                (reply.status, reply.error().as_deref()),
                (405, Some("method_not_allowed")),
                "{route}"
            );
            judge(&reply, method, &route);
            for offered in reply
                .header("allow")
                .unwrap_or_default()
                .split(',')
                .map(str::trim)
            {
                let reply = world.send(offered, &route, "", b"").await;
                assert_ne!(reply.status, 405, "{offered} {route} is said to be allowed");
            }
        }
    }
}

/// Paths are compared as they are: no variant of a route is the route, and an unknown one is JSON.
#[tokio::test]
async fn variants_of_paths_are_not_found() {
    let world = World::new().await;
    for route in routes() {
        for variant in [
            format!("/{route}"),
            format!("{route}/"),
            format!("{route};x"),
            format!("{route}%00"),
            format!("{route}%2f"),
            format!("{route}/%2e%2e"),
            format!("/%2e%2e{route}"),
            format!("/.{route}"),
            route.to_ascii_uppercase(),
            format!("{route}%c0%af"),
            format!("{route}/nothing/there"),
        ] {
            for method in ["GET", "POST"] {
                let reply = world.send(method, &variant, "", b"").await;
                judge(&reply, method, &variant);
                // 405: a POST to `/auth/logout;x`, which reads as the name of a provider. 403: one to `/auth/link/confirm;x`,
                // which does so too, without the header that tells it from a forged one.
                assert!(
                    matches!(reply.status, 400 | 403 | 404 | 405)
                        || (reply.status == 401 && variant.starts_with("/admin")),
                    "{method} {variant}: {reply:?}"
                );
            }
        }
    }
}

/// Bodies end at 64 KiB, whether their length is told or not.
#[tokio::test]
async fn a_body_of_a_mebibyte_is_413() {
    let world = World::new().await;
    let form = format!("token={}", "A".repeat(1 << 20));
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    for route in [
        "/oauth/token",
        "/oauth/introspect",
        "/oauth/revoke",
        "/oauth/userinfo",
        "/oauth/authorize",
    ] {
        let reply = world.send("POST", route, kind, form.as_bytes()).await;
        assert_eq!(reply.status, 413, "{route}: {reply:?}");
        judge(&reply, "POST", route);
        let chunked = format!(
            "POST {route} HTTP/1.1\r\nHost: op.test\r\nConnection: close\r\n{kind}Transfer-Encoding: chunked\r\n\r\n\
             {:x}\r\n{form}\r\n0\r\n\r\n",
            form.len()
        );
        let reply = Reply::to(world.op.address(), chunked.as_bytes()).await;
        assert_eq!(reply.status, 413, "{route}, chunked: {reply:?}");
    }
    let json = format!(r#"{{"consent_id":"{}"}}"#, "A".repeat(1 << 20));
    let headers = format!(
        "Content-Type: application/json\r\nSec-Fetch-Site: same-origin\r\nCookie: {}\r\n",
        world.cookies()
    );
    let reply = world
        .send("POST", "/oauth/consent", &headers, json.as_bytes())
        .await;
    assert_eq!((reply.status, reply.error().is_some()), (413, true), "{reply:?}");
}

/// RFC 9110 §15.5.15: a target beyond 16 KiB.
#[tokio::test]
async fn a_target_beyond_the_limit_is_414() {
    let world = World::new().await;
    for length in [17 * 1024, 30 * 1024] {
        let reply = world
            .send(
                "GET",
                &format!("/oauth/authorize?state={}", "A".repeat(length)),
                "",
                b"",
            )
            .await;
        assert_eq!(reply.status, 414, "{length}: {reply:?}");
    }
}

/// RFC 6585 §5: a head beyond 32 KiB or a hundred fields.
#[tokio::test]
async fn a_head_beyond_the_limit_is_431() {
    let world = World::new().await;
    let long = |bytes: usize| format!("Cookie: {}\r\n", "A".repeat(bytes));
    let many = |fields: usize| "X-Field: x\r\n".repeat(fields);
    for headers in [long(80 * 1024), long(33 * 1024), many(200), many(101)] {
        let reply = world.send("GET", "/health", &headers, b"").await;
        assert_eq!(reply.status, 431, "{reply:?}");
    }
    for headers in [long(31 * 1024), many(90)] {
        let reply = world.send("GET", "/health", &headers, b"").await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

/// Ten thousand parameters are read once, not searched for each name.
#[tokio::test]
async fn ten_thousand_parameters_are_answered_quickly() {
    let world = World::new().await;
    let different = (0..10_000).fold(String::new(), |form, number| form + &format!("x{number:04}&"));
    let same = "a&".repeat(10_000);
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    for route in routes() {
        for form in [&different, &same] {
            let started = std::time::Instant::now();
            let reply = world.send("POST", &route, kind, form.as_bytes()).await;
            judge(&reply, "POST", &route);
            assert!(started.elapsed() < std::time::Duration::from_secs(5), "{route}");
        }
    }
}

/// Targets and framings that a proxy might understand differently (RFC 9112 §3.2, §6.3): never a failure, never a success
/// at a place that was not meant.
#[tokio::test]
async fn odd_targets_and_framings_are_refused() {
    let world = World::new().await;
    for head in [
        "GET http://evil.test/nothing HTTP/1.1\r\nHost: op.test\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: op.test\r\n",
        "CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test\r\n",
        "GET /health HTTP/1.1\r\nHost: op.test\r\nBad Name: x\r\n",
        "GET /health HTTP/1.1\r\nHost: op.test\r\nX: a\0b\r\n",
        "GET /health HTTP/1.1\r\nHost: op.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
        "GET /health HTTP/1.1\r\nHost: op.test\r\nContent-Length: -1\r\n",
        "GET /health HTTP/1.1\r\nHost: op.test\r\nTransfer-Encoding: gzip\r\n",
        "GET /he\0alth HTTP/1.1\r\nHost: op.test\r\n",
        "GET /health\u{e9}\u{80} HTTP/1.1\r\nHost: op.test\r\n",
        "GET /health HTTP/9.9\r\nHost: op.test\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}",
        // RS-13: two hosts, a folded line, a bare CR; RS-3: HTTP/2 is not spoken.
        "GET /health HTTP/1.1\r\nHost: op.test\r\nHost: evil.test\r\n",
        "GET /health HTTP/1.1\r\nHost: op.test\r\nX: a\r\n b\r\n",
        "GET /health HTTP/1.1\r\nHost: op.test\r\nX: a\rb\r\n",
        // RFC 9112 §3.2: none, and what is none.
        "GET /health HTTP/1.1\r\n",
        "GET http://op.test/health HTTP/1.1\r\n",
        "GET /health HTTP/1.1\r\nHost: op.test, evil.test\r\n",
        "GET /health HTTP/1.1\r\nHost: op.test@evil.test\r\n",
        "PRI * HTTP/2.0\r\n",
    ] {
        let reply = Reply::to(
            world.op.address(),
            format!("{head}Connection: close\r\n\r\n").as_bytes(),
        )
        .await;
        assert!((400..500).contains(&reply.status), "{head:?}: {reply:?}");
    }
}

/// HTTP/1.0 has no `Host`, and monitors speak it.
#[tokio::test]
async fn an_old_request_without_a_host_is_answered() {
    let world = World::new().await;
    let reply = Reply::to(world.op.address(), b"GET /health HTTP/1.0\r\n\r\n").await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// RS-13: where a length and chunks are both told, the chunks count (RFC 9112 §6.3), and the connection ends with the answer: no
/// second request is read out of what a proxy may have taken for the body.
#[tokio::test]
async fn a_length_beside_chunks_moves_no_boundary() {
    let world = World::new().await;
    for (length, order) in [(5, 0), (50, 0), (5, 1), (50, 1)] {
        let length = format!("Content-Length: {length}\r\n");
        let mut framing = [length.as_str(), "Transfer-Encoding: chunked\r\n"];
        framing.rotate_left(order);
        let requests = format!(
            "POST /oauth/token HTTP/1.1\r\nHost: op.test\r\nContent-Type: application/x-www-form-urlencoded\r\n{}\r\n\
             0\r\n\r\n\
             GET /ready HTTP/1.1\r\nHost: op.test\r\nConnection: close\r\n\r\n",
            framing.concat()
        );
        let mut stream = TcpStream::connect(world.op.address()).await.unwrap();
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut answers = String::new();
        let _ = stream.read_to_string(&mut answers).await;
        let statuses: Vec<&str> = answers
            .match_indices("HTTP/1.1 ")
            .map(|(at, _)| &answers[at + 9..at + 12])
            .collect();
        // The first one has no parameters, and nothing is read after it: whoever writes so is not trusted to have said where it
        // ends.
        assert_eq!(statuses, ["401"], "{framing:?}: {answers}");
        assert!(answers.contains("connection: close"), "{framing:?}: {answers}");
    }
}

/// RS-13: a lone LF ends a line, as RFC 9112 §2.2 lets it and as proxies read it. So what follows a head of such lines is its body,
/// by the length that it tells, and then the next request; nothing that hides in the body is read as one. The other framings,
/// and what real proxies make of them: tests/interop/deploy/framing.py.
#[tokio::test]
async fn a_head_that_ends_by_lone_lfs_moves_no_boundary() {
    let world = World::new().await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: op.test\r\n\r\n";
    for (end, last) in [("\n", "\n"), ("\r\n", "\n"), ("\n", "\r\n")] {
        let head = [
            "POST /oauth/token HTTP/1.1",
            "Host: op.test",
            "Content-Type: application/x-www-form-urlencoded",
            &format!("Content-Length: {}", hidden.len()),
        ];
        let requests = format!(
            "{}{end}{last}{hidden}GET /health HTTP/1.1\r\nHost: op.test\r\nConnection: close\r\n\r\n",
            head.join(end)
        );
        let mut stream = TcpStream::connect(world.op.address()).await.unwrap();
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        let statuses: Vec<&str> = answers
            .match_indices("HTTP/1.1 ")
            .map(|(at, _)| &answers[at + 9..at + 12])
            .collect();
        assert_eq!(statuses, ["401", "200"], "{end:?} {last:?}: {answers}");
    }
}

/// RFC 9112 §9.6: whoever is still sending hears the refusal. A connection that is closed with unread bytes is reset, and a
/// proxy that met the reset first would say 502.
#[tokio::test]
async fn whoever_is_still_sending_a_refused_body_hears_the_refusal() {
    let world = World::new().await;
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    let part = "x".repeat(50_000);
    for _ in 0..30 {
        let mut stream = TcpStream::connect(world.op.address()).await.unwrap();
        let head =
            format!("POST /oauth/token HTTP/1.1\r\nHost: op.test\r\n{kind}Content-Length: 400000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..8 {
            stream
                .write_all(part.as_bytes())
                .await
                .expect("the server still listens");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut status_line = [0; 12];
        stream
            .read_exact(&mut status_line)
            .await
            .expect("the answer is not lost");
        assert_eq!(&status_line, b"HTTP/1.1 413");
    }
}
