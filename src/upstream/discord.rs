//! Discord: ids are strings of digits, pictures are named by a hash.
//! <https://discord.com/developers/docs/resources/user#user-object>

use serde_json::{Map, Value, json};

use super::oauth2::Profile;
use super::profile;

/// Reads `GET /users/@me`.
pub(super) fn profile(user: &Value) -> Option<Profile> {
    let subject = profile::subject(user.get("id"))?;
    let username = profile::text(user.get("username"));
    let name = profile::text(user.get("global_name")).or_else(|| username.clone());
    let picture = picture(&subject, user.get("avatar"));
    let mut claims = Map::new();
    for (claim, value) in [
        ("name", &name),
        ("preferred_username", &username),
        ("picture", &picture),
    ] {
        claims.extend(value.as_ref().map(|value| (claim.to_owned(), json!(value))));
    }
    if let Some(locale) = profile::text(user.get("locale")) {
        claims.insert("locale".to_owned(), json!(locale));
    }
    Some(Profile {
        subject,
        username,
        name,
        picture,
        email: profile::email(user.get("email")),
        email_verified: profile::email_verified(user.get("verified"), false),
        organizations: Vec::new(),
        claims,
    })
}

/// <https://discord.com/developers/docs/reference#image-formatting>; neither part may lead anywhere else.
fn picture(subject: &str, avatar: Option<&Value>) -> Option<String> {
    let avatar = avatar?.as_str()?;
    let is_hash = (1..=64).contains(&avatar.len())
        && avatar
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is_id = subject.bytes().all(|byte| byte.is_ascii_digit());
    (is_hash && is_id).then(|| format!("https://cdn.discordapp.com/avatars/{subject}/{avatar}.png"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_with_its_picture() {
        let profile = profile(&json!({
            "id": "80351110224678912", "username": "ada", "global_name": "Ada", "avatar": "a_8342729096ea3675442027381ff50dfe",
            "email": "ada@x.test", "verified": true
        }))
        .unwrap();
        assert_eq!(profile.subject, "80351110224678912");
        assert_eq!(profile.name.as_deref(), Some("Ada"));
        assert!(profile.email_verified);
        let picture =
            "https://cdn.discordapp.com/avatars/80351110224678912/a_8342729096ea3675442027381ff50dfe.png";
        assert_eq!(profile.picture.as_deref(), Some(picture));
    }

    #[test]
    fn a_picture_cannot_lead_out_of_its_folder() {
        for avatar in ["../../x", "", "a/b", "a?b"] {
            assert_eq!(picture("1", Some(&json!(avatar))), None);
        }
        assert_eq!(picture("1/../2", Some(&json!("abc"))), None);
    }
}
