//! Refused operations as answers.

use axum::http::StatusCode;

use crate::accounts::NotDeleted;
use crate::accounts::administration::Refused as AccountRefused;
use crate::clients::operations::Refused as ClientRefused;
use crate::config::finding::Finding;
use crate::error::AppError;
use crate::http::administrator::not_an_administrator;
use crate::webhooks;

/// Findings beyond these are not told: a body can break a rule a thousand times.
const MAX_FINDINGS: usize = 10;

fn last_admin() -> AppError {
    AppError::new(
        StatusCode::CONFLICT,
        "last_admin",
        "nobody would be left to administer: make somebody else an administrator first",
    )
}

/// A deletion that was refused.
pub fn not_deleted(refused: NotDeleted) -> AppError {
    match refused {
        NotDeleted::NotFound => AppError::not_found(),
        NotDeleted::SignedOut => AppError::unauthenticated(),
        NotDeleted::LastAdmin => last_admin(),
        NotDeleted::Database(error) => error.into(),
    }
}

impl From<AccountRefused> for AppError {
    fn from(refused: AccountRefused) -> Self {
        match refused {
            AccountRefused::NoSuchUser => Self::not_found(),
            AccountRefused::LastAdministrator => last_admin(),
            AccountRefused::NotAnAdministrator => not_an_administrator(),
            AccountRefused::Database(error) => error.into(),
        }
    }
}

impl From<ClientRefused> for AppError {
    fn from(refused: ClientRefused) -> Self {
        match refused {
            ClientRefused::NoSuchClient | ClientRefused::NoSuchDelivery => Self::not_found(),
            ClientRefused::NotConfidential => Self::new(
                StatusCode::CONFLICT,
                "not_confidential",
                "only a confidential client has a secret",
            ),
            ClientRefused::Invalid(findings) => Self {
                description: describe(&findings).into(),
                ..Self::bad_request("invalid_client", "the registration breaks a rule")
            },
            ClientRefused::Database(error) => error.into(),
        }
    }
}

impl From<webhooks::NotDone> for AppError {
    fn from(refused: webhooks::NotDone) -> Self {
        match refused {
            webhooks::NotDone::NotFound => Self::not_found(),
            webhooks::NotDone::Invalid(findings) => Self {
                description: describe(&findings).into(),
                ..Self::bad_request("invalid_webhook", "the registration breaks a rule")
            },
            webhooks::NotDone::Database(error) => error.into(),
        }
    }
}

/// Which fields break which rules, in the characters that a description may have (RFC 6749 §5.2).
fn describe(findings: &[Finding]) -> String {
    let told: Vec<String> = findings
        .iter()
        .take(MAX_FINDINGS)
        .map(|finding| {
            // Registrations name scopes in one text, `scope`.
            let field = if finding.key.starts_with("scopes[") {
                "scope"
            } else {
                &finding.key
            };
            format!("{field}: {}", finding.problem)
        })
        .collect();
    told.join("; ")
        .chars()
        .map(|character| match character {
            '"' | '\\' => '\'',
            ' '..='~' => character,
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_names_the_fields_in_legal_characters() {
        let findings = [
            Finding::error("scopes[3]", "no \u{201c}scope\u{201d} \"x\" \\", ""),
            Finding::error("name", "too long", ""),
        ];
        assert_eq!(describe(&findings), "scope: no ?scope? 'x' '; name: too long");
        let many = vec![findings[1].clone(); 1000];
        assert_eq!(describe(&many).matches("name").count(), MAX_FINDINGS);
    }
}
