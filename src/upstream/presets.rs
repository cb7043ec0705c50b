//! What is known of each provider, as data.

use super::Reauthentication;
use crate::config::providers::{EmailTrust, Preset};

/// A provider's endpoints and habits.
pub(super) struct PresetData {
    pub(super) display_name: &'static str,
    /// OpenID Connect providers; the others have the three URLs.
    pub(super) issuer: Option<&'static str>,
    pub(super) auth_url: &'static str,
    pub(super) token_url: &'static str,
    /// The place of GitHub's API, the profile elsewhere.
    pub(super) userinfo_url: &'static str,
    pub(super) scopes: &'static [&'static str],
    pub(super) email_trust: EmailTrust,
    pub(super) email_verified_as_string: bool,
    /// Whether the callback must be a form_post.
    pub(super) form_post: bool,
    pub(super) reauthentication: Reauthentication,
}

const OIDC: PresetData = PresetData {
    display_name: "",
    issuer: None,
    auth_url: "",
    token_url: "",
    userinfo_url: "",
    scopes: &["openid", "profile", "email"],
    email_trust: EmailTrust::None,
    email_verified_as_string: false,
    form_post: false,
    reauthentication: Reauthentication::FULL,
};

/// Google has neither `prompt=login` nor `max_age`; choosing the account is the most it can be asked for.
/// <https://developers.google.com/identity/openid-connect/openid-connect#authenticationuriparameters>
const GOOGLE: PresetData = PresetData {
    display_name: "Google",
    issuer: Some("https://accounts.google.com"),
    email_trust: EmailTrust::Verified,
    reauthentication: Reauthentication {
        select_account: true,
        ..Reauthentication::NONE
    },
    ..OIDC
};

/// <https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps>
const GITHUB: PresetData = PresetData {
    display_name: "GitHub",
    auth_url: "https://github.com/login/oauth/authorize",
    token_url: "https://github.com/login/oauth/access_token",
    userinfo_url: "https://api.github.com/user",
    scopes: &["read:user", "user:email"],
    email_trust: EmailTrust::Verified,
    reauthentication: Reauthentication::NONE,
    ..OIDC
};

/// <https://docs.gitlab.com/integration/openid_connect_provider/>
const GITLAB: PresetData = PresetData {
    display_name: "GitLab",
    issuer: Some("https://gitlab.com"),
    email_trust: EmailTrust::Verified,
    ..OIDC
};

/// `email` is whatever the tenant's administrator typed, so it is trusted for nothing. `max_age` is not documented.
/// <https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc>
const MICROSOFT: PresetData = PresetData {
    display_name: "Microsoft",
    issuer: Some(super::microsoft::ISSUER_TEMPLATE),
    reauthentication: Reauthentication {
        max_age: false,
        ..Reauthentication::FULL
    },
    ..OIDC
};

/// <https://discord.com/developers/docs/topics/oauth2>
const DISCORD: PresetData = PresetData {
    display_name: "Discord",
    auth_url: "https://discord.com/oauth2/authorize",
    token_url: "https://discord.com/api/oauth2/token",
    userinfo_url: "https://discord.com/api/users/@me",
    scopes: &["identify", "email"],
    reauthentication: Reauthentication::NONE,
    ..OIDC
};

/// Asks for the password or a fingerprint every time, but can be asked for nothing. `name` and `email` are granted only
/// to a form_post. <https://developer.apple.com/documentation/signinwithapplerestapi>
const APPLE: PresetData = PresetData {
    display_name: "Apple",
    issuer: Some("https://appleid.apple.com"),
    scopes: &["openid", "name", "email"],
    email_trust: EmailTrust::Verified,
    email_verified_as_string: true,
    form_post: true,
    reauthentication: Reauthentication::NONE,
    ..OIDC
};

/// A provider known by its issuer alone.
pub(super) const BY_ISSUER: &PresetData = &OIDC;

/// A provider described by hand: nothing is assumed of it.
pub(super) const BY_HAND: &PresetData = &PresetData {
    scopes: &[],
    reauthentication: Reauthentication::NONE,
    ..OIDC
};

pub(super) fn of(preset: Preset) -> &'static PresetData {
    match preset {
        Preset::Google => &GOOGLE,
        Preset::Github => &GITHUB,
        Preset::Gitlab => &GITLAB,
        Preset::Microsoft => &MICROSOFT,
        Preset::Discord => &DISCORD,
        Preset::Apple => &APPLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of docs/providers.md says what stands here.
    #[test]
    fn the_documented_table_is_the_presets() {
        let document = include_str!("../../docs/providers.md");
        let row = |name: &str, preset: &PresetData| {
            let quoted = |words: &[&str]| {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                words.join(" ")
            };
            let urls = [preset.auth_url, preset.token_url, preset.userinfo_url];
            let endpoints = match preset.issuer {
                Some(issuer) => quoted(&[issuer]),
                None if preset.auth_url.is_empty() => String::new(),
                None => quoted(&urls),
            };
            let scopes = match preset.scopes {
                [] => String::new(),
                scopes => format!("`{}`", scopes.join(" ")),
            };
            let trust = match preset.email_trust {
                EmailTrust::None => "none",
                EmailTrust::Verified => "verified",
                EmailTrust::Authoritative => "authoritative",
            };
            let can = preset.reauthentication;
            let means: Vec<&str> = [
                (can.prompt_login, "login"),
                (can.select_account, "select_account"),
                (can.max_age, "max_age"),
            ]
            .into_iter()
            .filter_map(|(can, word)| can.then_some(word))
            .collect();
            let means = if means.is_empty() {
                "none".to_owned()
            } else {
                quoted(&means)
            };
            let cells = [name, &endpoints, &scopes, &format!("`{trust}`"), &means];
            // An empty cell is one space.
            format!("| {} |", cells.join(" | ")).replace("  ", " ")
        };
        let presets = [
            ("`google`", Preset::Google),
            ("`github`", Preset::Github),
            ("`gitlab`", Preset::Gitlab),
            ("`microsoft`", Preset::Microsoft),
            ("`discord`", Preset::Discord),
            ("`apple`", Preset::Apple),
        ];
        let rows = presets
            .map(|(name, preset)| row(name, of(preset)))
            .into_iter()
            .chain([row("(`issuer`)", BY_ISSUER), row("(by hand)", BY_HAND)]);
        for row in rows {
            assert!(document.lines().any(|line| line == row), "{row}");
        }
    }
}
