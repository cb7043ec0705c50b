//! What ID tokens and UserInfo say, per flavour, and how misbehaviours change it.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use time::Duration;

use super::flavour::{EmailVerified, Flavour};
use super::keys::{self, SigningKey};
use super::memory::Grant;
use super::misbehaviour::Misbehaviour;
use super::people::extend;
use super::simulation::Simulation;

/// How long an ID token is valid.
const ID_TOKEN_TTL: Duration = Duration::hours(1);

/// The signed ID token of a grant.
pub(super) async fn id_token(
    simulation: &Simulation,
    grant: &Grant,
    client_secret: &str,
) -> anyhow::Result<String> {
    let misbehaves = |misbehaviour| simulation.misbehaves(misbehaviour, &grant.carried);
    let claims = Value::Object(id_token_claims(simulation, grant));
    if misbehaves(Misbehaviour::AlgNone) {
        return Ok(keys::unsigned(&claims));
    }
    if misbehaves(Misbehaviour::SignedWithClientSecret) {
        return Ok(keys::signed_with_secret(client_secret, &claims));
    }
    if misbehaves(Misbehaviour::UnpublishedKey) {
        let algorithm = simulation.options().signing_algorithm;
        let key = tokio::task::spawn_blocking(move || SigningKey::generate(algorithm)).await??;
        return key.sign(&claims);
    }
    if misbehaves(Misbehaviour::RotatedKey) {
        let simulation = simulation.clone();
        tokio::task::spawn_blocking(move || simulation.rotate_key()).await??;
    }
    simulation
        .keys()
        .last()
        .expect("a simulation has a key from the start")
        .sign(&claims)
}

fn id_token_claims(simulation: &Simulation, grant: &Grant) -> Map<String, Value> {
    let misbehaves = |misbehaviour| simulation.misbehaves(misbehaviour, &grant.carried);
    let now = simulation.now();
    let (issued_at, expires_at) = if misbehaves(Misbehaviour::ExpiredIdToken) {
        (now - Duration::hours(2), now - Duration::hours(1))
    } else if misbehaves(Misbehaviour::FutureIat) {
        (now + Duration::hours(1), now + Duration::hours(2))
    } else {
        (now, now + ID_TOKEN_TTL)
    };

    let mut claims = flavour_claims(simulation, grant);
    claims.insert("iss".to_owned(), json!(issuer(simulation, grant)));
    claims.insert("aud".to_owned(), json!(grant.client_id));
    claims.insert("iat".to_owned(), json!(issued_at.unix_timestamp()));
    claims.insert("exp".to_owned(), json!(expires_at.unix_timestamp()));
    insert_subject(&mut claims, "sub", simulation, grant);
    if let Some(nonce) = &grant.nonce {
        claims.insert("nonce".to_owned(), json!(nonce));
    }

    if misbehaves(Misbehaviour::WrongIssuer) {
        claims.insert("iss".to_owned(), json!("https://another-issuer.example.test"));
    }
    if misbehaves(Misbehaviour::WrongAudience) {
        claims.insert("aud".to_owned(), json!("another-client"));
    }
    if misbehaves(Misbehaviour::WrongAuthorizedParty) {
        claims.insert("aud".to_owned(), json!([grant.client_id, "another-client"]));
        claims.insert("azp".to_owned(), json!("another-client"));
    }
    if misbehaves(Misbehaviour::WrongNonce) {
        claims.insert("nonce".to_owned(), json!("another-nonce"));
    }
    if misbehaves(Misbehaviour::MissingNonce) {
        claims.remove("nonce");
    }
    claims
}

/// The `iss` of this person's ID token.
fn issuer(simulation: &Simulation, grant: &Grant) -> String {
    match simulation.flavour() {
        // The tenant that the person belongs to, whichever the request was sent to.
        Flavour::Microsoft => format!(
            "{}/{}/v2.0",
            simulation.base_url(),
            grant.session.person.tenant_id()
        ),
        _ => simulation.issuer(),
    }
}

/// What the flavour adds to the claims that every ID token has.
fn flavour_claims(simulation: &Simulation, grant: &Grant) -> Map<String, Value> {
    let person = &grant.session.person;
    let scope = grant.scopes();
    let mut claims = Map::new();
    insert_email(&mut claims, simulation, grant);
    if simulation.habits().session_claims {
        let acr = grant
            .acr_values
            .as_deref()
            .and_then(|values| values.split(' ').next())
            .unwrap_or("1");
        claims.insert(
            "auth_time".to_owned(),
            json!(grant.session.auth_time.unix_timestamp()),
        );
        claims.insert("sid".to_owned(), json!(grant.session.sid));
        claims.insert("acr".to_owned(), json!(acr));
        claims.insert("amr".to_owned(), json!(["pwd"]));
    }
    let (given_name, family_name) = person.given_and_family_name();
    match simulation.flavour() {
        Flavour::Google => {
            claims.insert("azp".to_owned(), json!(grant.client_id));
            if let Some(hd) = person.organisation {
                claims.insert("hd".to_owned(), json!(hd));
            }
            if scope.contains(&"profile") {
                let names = json!({ "name": person.name, "given_name": given_name, "family_name": family_name,
                    "picture": person.picture() });
                extend(&mut claims, names);
            }
        }
        Flavour::Microsoft => {
            let ids = json!({ "tid": person.tenant_id(), "oid": person.object_id(), "ver": "2.0",
                "nbf": simulation.now().unix_timestamp() });
            extend(&mut claims, ids);
            if scope.contains(&"profile") {
                extend(
                    &mut claims,
                    json!({ "name": person.name, "preferred_username": person.email }),
                );
            }
        }
        Flavour::Apple => {
            claims.insert("nonce_supported".to_owned(), json!(true));
        }
        Flavour::GitLab => {
            claims.insert(
                "sub_legacy".to_owned(),
                json!(super::people::hex(&super::people::sha256(&person.username))),
            );
            if scope.contains(&"profile") {
                let names = json!({ "name": person.name, "nickname": person.username,
                    "preferred_username": person.username });
                extend(&mut claims, names);
            }
        }
        Flavour::Oidc | Flavour::OAuth2 | Flavour::GitHub | Flavour::Discord => {}
    }
    claims
}

/// What UserInfo says of the person (OpenID Connect Core §5.3.2).
pub(super) fn userinfo_claims(simulation: &Simulation, grant: &Grant) -> Map<String, Value> {
    let person = &grant.session.person;
    let mut claims = person.claims(&grant.scopes());
    insert_email(&mut claims, simulation, grant);
    insert_subject(&mut claims, "sub", simulation, grant);
    if simulation.misbehaves(Misbehaviour::UserinfoOtherSubject, &grant.carried) {
        claims.insert("sub".to_owned(), json!("somebody-else"));
    }
    if simulation.flavour() == Flavour::OAuth2 {
        claims.remove("sub");
        insert_subject(&mut claims, "id", simulation, grant);
        claims.insert("login".to_owned(), json!(person.username));
    }
    if let (Flavour::Google, Some(hd)) = (simulation.flavour(), person.organisation) {
        claims.insert("hd".to_owned(), json!(hd));
    }
    claims
}

fn insert_email(claims: &mut Map<String, Value>, simulation: &Simulation, grant: &Grant) {
    if !grant.scopes().contains(&"email") {
        return;
    }
    let Some((email, verified)) = email(simulation, grant) else {
        return;
    };
    claims.insert("email".to_owned(), json!(email));
    let as_text = simulation.misbehaves(Misbehaviour::EmailVerifiedAsString, &grant.carried);
    match simulation.habits().email_verified {
        EmailVerified::Absent => {}
        EmailVerified::Boolean if !as_text => {
            claims.insert("email_verified".to_owned(), json!(verified));
        }
        EmailVerified::Boolean | EmailVerified::Text => {
            claims.insert("email_verified".to_owned(), json!(verified.to_string()));
        }
    }
}

/// The address and whether it is verified; `None` under [`Misbehaviour::NoEmail`].
pub(super) fn email(simulation: &Simulation, grant: &Grant) -> Option<(String, bool)> {
    let person = &grant.session.person;
    if simulation.misbehaves(Misbehaviour::NoEmail, &grant.carried) {
        return None;
    }
    let unverified = simulation.misbehaves(Misbehaviour::UnverifiedEmail, &grant.carried);
    Some((
        person.email_at(simulation.flavour()),
        person.email_verified && !unverified,
    ))
}

/// Writes the subject under `name`, or what a misbehaviour makes of it.
pub(super) fn insert_subject(
    claims: &mut Map<String, Value>,
    name: &str,
    simulation: &Simulation,
    grant: &Grant,
) {
    let subject = grant
        .session
        .person
        .subject(simulation.flavour(), &grant.client_id);
    if let Some(value) = subject_value(simulation, &grant.carried, &subject) {
        claims.insert(name.to_owned(), value);
    }
}

fn subject_value(simulation: &Simulation, carried: &HashSet<Misbehaviour>, subject: &str) -> Option<Value> {
    let misbehaves = |misbehaviour| simulation.misbehaves(misbehaviour, carried);
    if misbehaves(Misbehaviour::SubjectMissing) {
        return None;
    }
    Some(if misbehaves(Misbehaviour::SubjectAsNumber) {
        json!(12_345_678)
    } else if misbehaves(Misbehaviour::SubjectAsFloat) {
        json!(12_345_678.5)
    } else if misbehaves(Misbehaviour::SubjectEmpty) {
        json!("")
    } else if misbehaves(Misbehaviour::SubjectAsObject) {
        json!({ "id": subject })
    } else if simulation.flavour() == Flavour::GitHub {
        // GitHub's ids are JSON numbers.
        subject
            .parse::<u64>()
            .map_or_else(|_| json!(subject), |number| json!(number))
    } else {
        json!(subject)
    })
}
