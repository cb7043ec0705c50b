//! Microsoft: one discovery document for many tenants, each with an issuer of its own.
//!
//! The document of `common` names the template `…/{tenantid}/v2.0`; the issuer of an ID token is the template with the
//! token's `tid` in it. <https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-issuer>

use serde_json::{Map, Value};

pub(super) const ISSUER_TEMPLATE: &str = "https://login.microsoftonline.com/{tenantid}/v2.0";

const PLACEHOLDER: &str = "{tenantid}";

/// The tenant of personal accounts.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// Which tenants may come in.
#[derive(Clone, Debug)]
pub(super) struct Tenancy {
    template: String,
    tenant: String,
}

impl Tenancy {
    /// `issuer` is the template, or the configured tenant's own (`…/TENANT/v2.0`). `None`: it is neither, and so no
    /// issuer with tenants.
    pub(super) fn new(issuer: &str, tenant: &str) -> Option<Self> {
        let template = if issuer.contains(PLACEHOLDER) {
            issuer.to_owned()
        } else {
            let base = issuer
                .strip_suffix("/v2.0")?
                .strip_suffix(tenant)?
                .strip_suffix('/')?;
            format!("{base}/{PLACEHOLDER}/v2.0")
        };
        Some(Self {
            template,
            tenant: tenant.to_owned(),
        })
    }

    /// The text before the tenant and the one after it, in every issuer.
    pub(super) fn around_tenant(&self) -> (&str, &str) {
        self.template
            .split_once(PLACEHOLDER)
            .expect("a template has the placeholder")
    }

    /// The URL below which the tenant's discovery document is.
    pub(super) fn authority(&self) -> String {
        self.issuer_of(&self.tenant)
    }

    /// The template itself, or an issuer that it gives: a document may name the tenant by its id.
    pub(super) fn accepts_metadata_issuer(&self, issuer: &str) -> bool {
        if issuer == self.template || issuer == self.authority() {
            return true;
        }
        let tenant = self.tenant_in(issuer);
        // A tenant is configured by its id or a domain name; by a domain name the document tells the id.
        match self.tenant.as_str() {
            "consumers" => tenant == Some(CONSUMERS),
            name => name.contains('.') && tenant.is_some_and(is_tenant_id),
        }
    }

    /// Whether ID tokens can name this issuer. `document_issuer`: what the discovery document said, which tells the id that a
    /// domain name stands for; without it no issuer is a domain name's.
    pub(super) fn gives(&self, issuer: &str, document_issuer: Option<&str>) -> bool {
        self.may_give(issuer) && (!self.is_named_by_domain() || document_issuer == Some(issuer))
    }

    /// The same as far as the configuration tells by itself.
    pub(super) fn may_give(&self, issuer: &str) -> bool {
        let Some(tenant) = self.tenant_in(issuer).filter(|tenant| is_tenant_id(tenant)) else {
            return false;
        };
        match self.tenant.as_str() {
            "organizations" => tenant != CONSUMERS,
            "consumers" => tenant == CONSUMERS,
            id if is_tenant_id(id) => tenant.eq_ignore_ascii_case(id),
            _ => true,
        }
    }

    /// Whether only the discovery document tells the tenant's id.
    pub(super) fn is_named_by_domain(&self) -> bool {
        let tenant = self.tenant.as_str();
        !matches!(tenant, "common" | "organizations" | "consumers") && !is_tenant_id(tenant)
    }

    fn tenant_in<'a>(&self, issuer: &'a str) -> Option<&'a str> {
        let (before, after) = self.template.split_once(PLACEHOLDER)?;
        issuer.strip_prefix(before)?.strip_suffix(after)
    }

    /// The issuer that an ID token with these claims must name, or the code of the refusal. `metadata_issuer` is what
    /// the discovery document said, which binds a tenant configured by its domain name to its id.
    pub(super) fn issuer_for(
        &self,
        metadata_issuer: &str,
        claims: &Map<String, Value>,
    ) -> Result<String, &'static str> {
        let tid = claims
            .get("tid")
            .and_then(Value::as_str)
            .filter(|tid| is_tenant_id(tid))
            .ok_or("tenant_missing")?;
        let admitted = match self.tenant.as_str() {
            "common" => true,
            "organizations" => tid != CONSUMERS,
            "consumers" => tid == CONSUMERS,
            id if is_tenant_id(id) => tid.eq_ignore_ascii_case(id),
            _ => metadata_issuer == self.issuer_of(tid),
        };
        if !admitted {
            return Err("tenant_not_admitted");
        }
        Ok(self.issuer_of(tid))
    }

    fn issuer_of(&self, tenant: &str) -> String {
        self.template.replace(PLACEHOLDER, tenant)
    }
}

/// A UUID in its usual form.
fn is_tenant_id(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CONTOSO: &str = "11111111-2222-4333-8444-555555555555";
    const FABRIKAM: &str = "99999999-2222-4333-8444-555555555555";

    fn issuer_for(tenant: &str, metadata_issuer: &str, tid: &Value) -> Result<String, &'static str> {
        let claims = json!({ "tid": tid });
        Tenancy::new(ISSUER_TEMPLATE, tenant)
            .unwrap()
            .issuer_for(metadata_issuer, claims.as_object().unwrap())
    }

    /// What a link is judged by that was made when another tenant, or another issuer, was configured under this name.
    #[test]
    fn an_issuer_is_given_if_its_tenant_is_admitted() {
        let gives = |tenant: &str, issuer: &str| {
            let tenancy = Tenancy::new(ISSUER_TEMPLATE, tenant).unwrap();
            assert_eq!(tenancy.gives(issuer, None), tenancy.may_give(issuer), "{tenant}");
            tenancy.gives(issuer, None)
        };
        let of = |tenant: &str| ISSUER_TEMPLATE.replace(PLACEHOLDER, tenant);
        assert!(gives("common", &of(CONTOSO)) && gives("common", &of(CONSUMERS)));
        assert!(gives("organizations", &of(CONTOSO)) && !gives("organizations", &of(CONSUMERS)));
        assert!(gives("consumers", &of(CONSUMERS)) && !gives("consumers", &of(CONTOSO)));
        assert!(gives(CONTOSO, &of(CONTOSO)) && !gives(CONTOSO, &of(FABRIKAM)));
        for issuer in ["https://accounts.google.com", ISSUER_TEMPLATE, "", &of("common")] {
            assert!(!gives("common", issuer), "{issuer}");
        }
    }

    /// A domain name stands for one tenant, and the discovery document says for which.
    #[test]
    fn a_domain_name_gives_the_issuer_of_its_document_alone() {
        let tenancy = Tenancy::new(ISSUER_TEMPLATE, "contoso.example").unwrap();
        let of = |tenant: &str| ISSUER_TEMPLATE.replace(PLACEHOLDER, tenant);
        assert!(tenancy.gives(&of(CONTOSO), Some(&of(CONTOSO))));
        for document in [None, Some(of(FABRIKAM)), Some(ISSUER_TEMPLATE.to_owned())] {
            assert!(!tenancy.gives(&of(CONTOSO), document.as_deref()), "{document:?}");
            assert!(tenancy.may_give(&of(CONTOSO)));
        }
        assert!(!tenancy.may_give("https://accounts.google.com"));
    }

    #[test]
    fn the_issuer_of_an_id_token_is_the_template_with_its_tid() {
        let issuer = issuer_for("common", ISSUER_TEMPLATE, &json!(CONTOSO)).unwrap();
        assert_eq!(
            issuer,
            format!("https://login.microsoftonline.com/{CONTOSO}/v2.0")
        );
        for tid in [
            json!(null),
            json!(""),
            json!("{tenantid}"),
            json!("common"),
            json!("../evil"),
            json!(7),
        ] {
            assert_eq!(
                issuer_for("common", ISSUER_TEMPLATE, &tid),
                Err("tenant_missing"),
                "{tid}"
            );
        }
    }

    #[test]
    fn a_configured_tenant_admits_no_other() {
        let (contoso, fabrikam) = (json!(CONTOSO), json!(FABRIKAM));
        let own = format!("https://login.microsoftonline.com/{CONTOSO}/v2.0");
        assert!(issuer_for(CONTOSO, &own, &contoso).is_ok());
        assert_eq!(issuer_for(CONTOSO, &own, &fabrikam), Err("tenant_not_admitted"));
        assert!(issuer_for("contoso.test", &own, &contoso).is_ok());
        assert_eq!(
            issuer_for("contoso.test", &own, &fabrikam),
            Err("tenant_not_admitted")
        );
        assert_eq!(
            issuer_for("organizations", ISSUER_TEMPLATE, &json!(CONSUMERS)),
            Err("tenant_not_admitted")
        );
        assert_eq!(
            issuer_for("consumers", ISSUER_TEMPLATE, &contoso),
            Err("tenant_not_admitted")
        );
    }

    #[test]
    fn the_discovery_document_names_the_template_or_the_tenant() {
        let common = Tenancy::new(ISSUER_TEMPLATE, "common").unwrap();
        assert!(common.accepts_metadata_issuer(ISSUER_TEMPLATE));
        assert!(
            !common.accepts_metadata_issuer(&format!("https://login.microsoftonline.com/{CONTOSO}/v2.0"))
        );
        assert!(!common.accepts_metadata_issuer("https://evil.test/{tenantid}/v2.0"));
        let contoso = Tenancy::new(ISSUER_TEMPLATE, CONTOSO).unwrap();
        assert!(
            contoso.accepts_metadata_issuer(&format!("https://login.microsoftonline.com/{CONTOSO}/v2.0"))
        );
        assert!(
            !contoso.accepts_metadata_issuer(&format!("https://login.microsoftonline.com/{FABRIKAM}/v2.0"))
        );
    }
}
