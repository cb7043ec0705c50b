//! The few pages that riley-auth itself shows: an error that cannot go back to the app, the form that carries a
//! `form_post` answer, the question before a logout. Inert HTML, no branding, a strict policy.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use crate::config::Config;
use crate::protocol::authorization::{AuthorizationResponse, ResponseMode};

/// The only script that a page of ours runs: it sends the form. Its hash stands in the policy below.
const SUBMIT_SCRIPT: &str = "document.forms[0].submit()";

/// Nothing loads, nothing runs, nobody frames it; the style is our own.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The same for a page with a form. `form-action` is missing where the answer to the form leads elsewhere: Chromium applies it
/// to every redirect that follows, those of the app that is gone back to included.
const FORM_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:4rem auto;padding:0 1rem;color:#222;\
background:#fff}h1{font-size:1.4rem}code{background:#eee;padding:.1rem .3rem;border-radius:.2rem}\
button{font:inherit;padding:.5rem 1.2rem;cursor:pointer}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}code{background:#333}}";

/// Text as it may stand in HTML, in an attribute too.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A page that says what went wrong, in our own words, with the id under which the operator finds more and, where the
/// deployer has a page for such cases, the way there. Never a redirect: what is refused has the status of a refusal.
pub fn error_page(
    config: &Config,
    status: StatusCode,
    title: &str,
    text: &str,
    error_id: Option<&str>,
) -> Response {
    error_page_with(config, status, title, text, error_id, "")
}

/// The same with markup of our own below it.
pub fn error_page_with(
    config: &Config,
    status: StatusCode,
    title: &str,
    text: &str,
    error_id: Option<&str>,
    markup: &str,
) -> Response {
    let id = error_id.map_or_else(String::new, |id| {
        let help = config.oauth.error_url.as_ref().map_or_else(String::new, |page| {
            let mut url = page.clone();
            url.query_pairs_mut().append_pair("error_id", id);
            format!(
                "<p><a id=\"error-help\" href=\"{}\">What can I do?</a></p>",
                escape(url.as_str())
            )
        });
        format!(
            "<p>If you ask for help, give this id: <code id=\"error-id\">{}</code></p>{help}",
            escape(id)
        )
    });
    plain_page(status, title, text, &(id + markup))
}

/// A page with a title, a sentence, and markup of our own.
pub fn plain_page(status: StatusCode, title: &str, text: &str, markup: &str) -> Response {
    let body = format!(
        "<h1 id=\"error-title\">{}</h1><p id=\"error-text\">{}</p>{markup}",
        escape(title),
        escape(text),
    );
    html_page(status, title, &body, PAGE_POLICY)
}

/// A page that asks something or says that something is done, in markup of our own. `leads_elsewhere`: the answer to its
/// form may be a redirect to another origin.
pub fn form_page(title: &str, markup: &str, leads_elsewhere: bool) -> Response {
    let body = format!("<h1 id=\"page-title\">{}</h1>{markup}", escape(title));
    let policy = if leads_elsewhere {
        FORM_POLICY.to_owned()
    } else {
        format!("{FORM_POLICY}; form-action 'self'")
    };
    let mut response = html_page(StatusCode::OK, title, &body, &policy);
    // With `no-referrer` browsers would send `Origin: null` with our own form.
    response
        .headers_mut()
        .insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

fn html_page(status: StatusCode, title: &str, body: &str, policy: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>",
        escape(title),
    );
    let mut response = (status, Html(page)).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer on its way to the client: a redirect, or the form of OAuth 2.0 Form Post Response Mode.
pub fn authorization_response(answer: &AuthorizationResponse) -> Response {
    match answer.response_mode {
        ResponseMode::Query => redirect(&answer.location()),
        ResponseMode::FormPost => form_post(answer),
    }
}

/// A redirect that is always followed by a GET, remembered by nobody, and tells the next host nothing.
pub fn redirect(location: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        return plain_page(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something went wrong",
            "Please try again.",
            "",
        );
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn form_post(answer: &AuthorizationResponse) -> Response {
    let fields = answer.params.iter().fold(String::new(), |fields, (name, value)| {
        fields
            + &format!(
                "<input type=\"hidden\" name=\"{name}\" value=\"{}\">",
                escape(value)
            )
    });
    let body = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Continue</title></head><body>\
         <form method=\"post\" action=\"{}\">{fields}<noscript><button type=\"submit\" id=\"continue\">Continue</button>\
         </noscript></form><script>{SUBMIT_SCRIPT}</script></body></html>",
        escape(&answer.redirect_uri),
    );
    let mut response = Html(body).into_response();
    let headers = response.headers_mut();
    // No form-action: Chromium applies it to the redirects of the app that receives the form, too.
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; base-uri 'none'; frame-ancestors 'none'",
        script_hash()
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn script_hash() -> String {
    use base64::Engine;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, SUBMIT_SCRIPT.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_caller_sent_becomes_markup() {
        assert_eq!(
            escape("<a href=\"x\">'&"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;"
        );
    }
}
