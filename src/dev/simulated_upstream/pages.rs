//! The pages of the simulated upstream: plain HTML that needs no JavaScript and has stable ids for scripted browsers.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use url::form_urlencoded;

use super::authorize::AuthorizationRequest;
use super::memory::Session;
use super::misbehaviour::Misbehaviour;
use super::people::Person;
use super::request_log::LoggedRequest;
use super::simulation::Simulation;

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem;\
    color:#222;background:#f6f6f4}main{background:#fff;border:1px solid #ccc;border-radius:.5rem;padding:1.5rem}\
    h1{font-size:1.4rem;margin-top:0}input[type=text],select{font:inherit;padding:.4rem;width:100%;\
    box-sizing:border-box}button{font:inherit;padding:.4rem .9rem;margin:.2rem .2rem .2rem 0}\
    .fault{color:#a00}.note{color:#666;font-size:.9rem}";

/// The sign-in page. The form comes back with the query of the authorization request.
pub(super) fn sign_in(
    simulation: &Simulation,
    request: &AuthorizationRequest,
    received: &LoggedRequest,
    session: Option<&Session>,
    fault: Option<&str>,
) -> Response {
    let known = session.map(|session| session.person.username.as_str());
    let hint = request.login_hint.as_deref().or(known).unwrap_or_default();
    let mut body = String::new();
    if let Some(fault) = fault {
        let _ = write!(body, r#"<p class="fault" id="fault">{}</p>"#, escape(fault));
    }
    let _ = write!(
        body,
        r#"<p>to continue to <strong>{client}</strong></p>
<form method="post" action="{action}">
<p><label for="username">Name or e-mail address</label>
<input type="text" id="username" name="username" value="{hint}" autocomplete="off" autofocus></p>
<p><button type="submit" id="sign-in" name="action" value="sign-in">Sign in</button>
<button type="submit" id="cancel" name="action" value="cancel">Cancel</button></p>
<p>Or sign in at once as<br>"#,
        client = escape(&request.client_id),
        action = escape(&form_action(simulation, received)),
        hint = escape(hint),
    );
    for name in Person::built_in() {
        let _ = write!(
            body,
            r#"<button type="submit" id="person-{name}" name="person" value="{name}">{name}</button>"#
        );
    }
    body.push_str("</p>\n<p><label for=\"misbehaviour\">This time, let the following go wrong</label>\n");
    body.push_str(r#"<select id="misbehaviour" name="misbehaviour"><option value="">nothing</option>"#);
    for (name, _) in Misbehaviour::ALL
        .iter()
        .filter(|(_, misbehaviour)| misbehaviour.is_per_sign_in())
    {
        let _ = write!(
            body,
            r#"<option value="{name}">{}</option>"#,
            name.replace('-', " ")
        );
    }
    let _ = write!(
        body,
        r#"</select></p></form>
<p class="note">This provider is simulated: any name is believed, and no password is asked for.
<a href="{}">More that can go wrong</a></p>"#,
        escape(&simulation.url("/")),
    );
    page(&format!("Sign in – {}", simulation.habits().display_name), &body)
}

/// The page for `prompt=consent`.
pub(super) fn consent(
    simulation: &Simulation,
    request: &AuthorizationRequest,
    received: &LoggedRequest,
    session: &Session,
) -> Response {
    let body = format!(
        r#"<p><strong>{client}</strong> asks for <em>{scope}</em> of <strong>{name}</strong>.</p>
<form method="post" action="{action}">
<button type="submit" id="allow" name="action" value="allow">Allow</button>
<button type="submit" id="cancel" name="action" value="cancel">Cancel</button></form>"#,
        client = escape(&request.client_id),
        scope = escape(&request.scope),
        name = escape(&session.person.name),
        action = escape(&form_action(simulation, received)),
    );
    page(
        &format!("Allow access – {}", simulation.habits().display_name),
        &body,
    )
}

/// The page whose form carries the response to the client (OAuth 2.0 Form Post Response Mode §2); without JavaScript
/// somebody has to press the button.
pub(super) fn form_post(
    simulation: &Simulation,
    redirect_uri: &str,
    params: &[(&'static str, String)],
) -> Response {
    let mut body = format!(r#"<form method="post" action="{}">"#, escape(redirect_uri));
    for (name, value) in params {
        let _ = write!(
            body,
            r#"<input type="hidden" name="{name}" value="{}">"#,
            escape(value)
        );
    }
    body.push_str(r#"<p><button type="submit" id="continue" autofocus>Continue</button></p></form>"#);
    page(&format!("Continue – {}", simulation.habits().display_name), &body)
}

/// The page that signs out, or says that nobody is signed in.
pub(super) fn logout(simulation: &Simulation, session: Option<&Session>) -> Response {
    let body = match session {
        None => r#"<p id="signed-out">Nobody is signed in here.</p>"#.to_owned(),
        Some(session) => format!(
            r#"<p>Signed in as <strong>{}</strong>.</p>
<form method="post" action="{}"><button type="submit" id="sign-out">Sign out</button></form>"#,
            escape(&session.person.name),
            escape(&simulation.url("/logout")),
        ),
    };
    page(&format!("Sign out – {}", simulation.habits().display_name), &body)
}

/// `GET /`: who is signed in, and what goes wrong for everybody.
pub(super) async fn index(
    State(simulation): State<Simulation>,
    Extension(received): Extension<Arc<LoggedRequest>>,
) -> Response {
    let active = simulation.misbehaviours();
    let who = simulation
        .session(&received)
        .map_or_else(|| "nobody".to_owned(), |session| session.person.name);
    let mut body = format!(
        r#"<p>Signed in: <strong>{}</strong>. <a href="{}">Sign out</a></p>
<form method="post" action="{}"><fieldset><legend>Goes wrong for everybody, until changed</legend>"#,
        escape(&who),
        escape(&simulation.url("/logout")),
        escape(&simulation.url("/")),
    );
    for (name, misbehaviour) in Misbehaviour::ALL {
        let checked = if active.contains(misbehaviour) {
            " checked"
        } else {
            ""
        };
        let _ = write!(
            body,
            r#"<label><input type="checkbox" id="misbehaviour-{name}" name="misbehaviour" value="{name}"{checked}>
{}</label><br>"#,
            name.replace('-', " "),
        );
    }
    body.push_str(r#"</fieldset><p><button type="submit" id="save">Save</button></p></form>"#);
    page(simulation.habits().display_name, &body)
}

/// A request that cannot be sent back to the client.
pub(super) fn error(display_name: &str, fault: &str) -> Response {
    let body = format!(r#"<p class="fault" id="fault">{}</p>"#, escape(fault));
    (
        StatusCode::BAD_REQUEST,
        page(&format!("Error – {display_name}"), &body),
    )
        .into_response()
}

fn form_action(simulation: &Simulation, received: &LoggedRequest) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(&received.query)
        .finish();
    format!("{}?{query}", simulation.url("/sign-in"))
}

fn page(title: &str, body: &str) -> Response {
    let title = escape(title);
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>{STYLE}</style></head>\n\
         <body><main><h1>{title}</h1>\n{body}\n</main></body></html>\n"
    );
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    ];
    (headers, Html(html)).into_response()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_what_people_send_stays_text() {
        assert_eq!(
            escape(r#"<a href="x" id='y'>&"#),
            "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;"
        );
    }
}
