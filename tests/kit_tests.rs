//! The kit itself: a browser that is more lenient than real ones would let every other test pass in vain.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::cookies::{Context, CookieJar, site};
use common::html;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use url::Url;

const NOW: OffsetDateTime = datetime!(2026-01-01 12:00 UTC);

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

/// What is sent to `to` after an answer from `from` set this cookie.
fn sent(from: &str, set_cookie: &str, to: &str, context: Context) -> Option<String> {
    let mut jar = CookieJar::default();
    jar.store(&url(from), set_cookie, Context::SameSite, NOW);
    jar.header(&url(to), context, NOW)
}

/// RFC 6265bis §4.1.3, §5.7.
#[test]
fn prefixes_and_secure_are_enforced() {
    let keeps = |from: &str, set_cookie: &str| {
        sent(from, set_cookie, "https://a.op.test/", Context::SameSite).is_some()
    };
    assert!(keeps("https://a.op.test/", "__Host-a=1; Path=/; Secure"));
    assert!(!keeps("https://a.op.test/", "__Host-a=1; Path=/"));
    assert!(!keeps("https://a.op.test/x/y", "__Host-a=1; Secure"));
    assert!(!keeps(
        "https://a.op.test/",
        "__Host-a=1; Path=/; Secure; Domain=op.test"
    ));
    assert!(keeps(
        "https://a.op.test/",
        "__Secure-a=1; Path=/; Secure; Domain=op.test"
    ));
    assert!(!keeps(
        "https://a.op.test/",
        "__Secure-a=1; Path=/; Domain=op.test"
    ));
    assert!(!keeps("http://a.op.test/", "a=1; Path=/; Secure"));
    assert!(!keeps("https://a.op.test/", "a=1; Path=/; SameSite=None"));
    assert!(!keeps("https://a.op.test/", "a=1; Path=/; Domain=b.op.test"));
    assert!(!keeps("https://a.op.test/", "a=1; Path=/; Domain=test"));
}

#[test]
fn host_path_and_scheme_decide_where_a_cookie_goes() {
    let goes =
        |set_cookie: &str, to: &str| sent("https://op.test/a/b", set_cookie, to, Context::SameSite).is_some();
    assert!(!goes("a=1; Path=/", "https://sub.op.test/"));
    assert!(goes("a=1; Path=/; Domain=op.test", "https://sub.op.test/"));
    assert!(!goes("a=1; Path=/; Domain=op.test", "https://notop.test/"));
    assert!(goes("a=1", "https://op.test/a/c"));
    assert!(!goes("a=1", "https://op.test/ab"));
    assert!(!goes("a=1; Path=/; Secure", "http://op.test/"));
}

#[test]
fn same_site_decides_what_other_sites_requests_carry() {
    let carries = |same_site: &str, context: Context| {
        let set_cookie = format!("a=1; Path=/; Secure; SameSite={same_site}");
        sent("https://op.test/", &set_cookie, "https://op.test/", context).is_some()
    };
    assert!(carries("Lax", Context::CrossSiteNavigation) && !carries("Lax", Context::CrossSite));
    assert!(!carries("Strict", Context::CrossSiteNavigation) && carries("Strict", Context::SameSite));
    assert!(carries("None", Context::CrossSite));
    assert_eq!(
        site(&url("https://pages.op.test/x")),
        site(&url("https://op.test/"))
    );
    assert_ne!(site(&url("https://app.test/")), site(&url("https://op.test/")));
    assert_ne!(site(&url("http://op.test/")), site(&url("https://op.test/")));
}

#[test]
fn a_cookie_ends_with_its_age_and_is_removed_by_its_own_name_path_and_domain() {
    let mut jar = CookieJar::default();
    let here = url("https://op.test/");
    jar.store(&here, "a=1; Path=/; Max-Age=60", Context::SameSite, NOW);
    assert!(
        jar.header(&here, Context::SameSite, NOW + Duration::seconds(59))
            .is_some()
    );
    assert!(
        jar.header(&here, Context::SameSite, NOW + Duration::seconds(60))
            .is_none()
    );
    jar.store(&here, "a=; Path=/x; Max-Age=0", Context::SameSite, NOW);
    assert!(jar.find("a", NOW).is_some());
    jar.store(&here, "a=; Path=/; Max-Age=0", Context::SameSite, NOW);
    assert!(jar.find("a", NOW).is_none());
}

#[test]
fn a_form_is_read_as_a_browser_reads_it() {
    let page = r#"<style>a<b</style><form method=post action='/go?a=1&amp;b=2'><input type="hidden" name=x value="&quot;&lt;">
        <input type=checkbox name=off value=1><input type=checkbox name=on value=1 checked><select name=s><option value="p">
        <option value="q"></select><button name="b" value="1">B</button></form><input name=outside>"#;
    let form = html::forms(page).remove(0);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        (form.action.as_str(), form.method.as_str()),
        ("/go?a=1&b=2", "post")
    );
    assert_eq!(form.fields, [pair("x", "\"<"), pair("on", "1"), pair("s", "p")]);
    assert_eq!(form.buttons, [pair("b", "1")]);
}
