//! Who may join by a provider: `signup` and `allow_list`.

use super::{Identity, profile};
use crate::config::providers::{AllowList, EmailTrust, Signup};

/// Whether somebody with this identity may become a new user. With an allow list one match of any kind admits; the
/// domain of an address counts only if the provider verified it and is trusted for that (`trust`).
pub fn signup_allowed(
    signup: Signup,
    allow_list: &AllowList,
    trust: EmailTrust,
    identity: &Identity,
) -> bool {
    match signup {
        Signup::Open => true,
        Signup::Closed => false,
        Signup::AllowList => matches(allow_list, trust, identity),
    }
}

fn matches(list: &AllowList, trust: EmailTrust, identity: &Identity) -> bool {
    let has = |list: &[String], value: Option<&str>| {
        value.is_some_and(|value| list.iter().any(|listed| listed.eq_ignore_ascii_case(value)))
    };
    let is_proven = identity.email_verified && trust != EmailTrust::None;
    let domain = identity
        .email
        .as_deref()
        .filter(|_| is_proven)
        .and_then(profile::email_domain);
    has(&list.email_domains, domain.as_deref())
        || has(&list.google_hosted_domains, identity.hosted_domain.as_deref())
        || has(&list.microsoft_tenants, identity.tenant.as_deref())
        || identity
            .organizations
            .iter()
            .any(|name| has(&list.github_organizations, Some(name)))
}

#[cfg(test)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "JSON literals are handed over as they are written"
)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn identity(change: Value) -> Identity {
        let mut base = json!({
            "provider": "p", "issuer": "https://op.test", "subject": "1", "email_verified": false, "organizations": [],
            "claims": {}, "display": "1"
        });
        base.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        serde_json::from_value(base).unwrap()
    }

    fn admitted(trust: EmailTrust, change: Value) -> bool {
        let list = AllowList {
            email_domains: vec!["Example.test".into()],
            google_hosted_domains: vec!["workspace.test".into()],
            github_organizations: vec!["engine".into()],
            microsoft_tenants: vec!["11111111-2222-4333-8444-555555555555".into()],
        };
        signup_allowed(Signup::AllowList, &list, trust, &identity(change))
    }

    #[test]
    fn open_admits_everybody_and_closed_nobody() {
        let list = AllowList {
            email_domains: vec!["example.test".into()],
            ..AllowList::default()
        };
        let ada = identity(json!({ "email": "ada@example.test", "email_verified": true }));
        assert!(signup_allowed(
            Signup::Open,
            &AllowList::default(),
            EmailTrust::None,
            &ada
        ));
        assert!(!signup_allowed(Signup::Closed, &list, EmailTrust::Verified, &ada));
        assert!(!signup_allowed(
            Signup::AllowList,
            &AllowList::default(),
            EmailTrust::Verified,
            &ada
        ));
    }

    #[test]
    fn a_domain_admits_only_by_an_address_verified_at_a_trusted_provider() {
        let verified = json!({ "email": "Ada@EXAMPLE.test", "email_verified": true });
        assert!(admitted(EmailTrust::Verified, verified.clone()));
        assert!(!admitted(EmailTrust::None, verified));
        assert!(!admitted(
            EmailTrust::Verified,
            json!({ "email": "ada@example.test" })
        ));
        for email in [
            "ada@sub.example.test",
            "ada@notexample.test",
            "example.test",
            "ada@example.test.evil",
        ] {
            assert!(
                !admitted(
                    EmailTrust::Verified,
                    json!({ "email": email, "email_verified": true })
                ),
                "{email}"
            );
        }
    }

    #[test]
    fn hosted_domain_organisation_and_tenant_each_admit() {
        assert!(admitted(
            EmailTrust::None,
            json!({ "hosted_domain": "workspace.test" })
        ));
        assert!(admitted(
            EmailTrust::None,
            json!({ "organizations": ["other", "Engine"] })
        ));
        assert!(admitted(
            EmailTrust::None,
            json!({ "tenant": "11111111-2222-4333-8444-555555555555" })
        ));
        assert!(!admitted(
            EmailTrust::Authoritative,
            json!({ "hosted_domain": "other.test" })
        ));
    }
}
