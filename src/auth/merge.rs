//! Whether a newcomer is joined to an account that exists (`oauth.account_merge_policy`): a pure decision.
//!
//! An address proves nothing by itself: some upstreams let anybody claim any. It counts only where both sides' providers
//! say they verified it and are trusted to say so, and only if it leads to exactly one account.

use crate::config::oauth::AccountMergePolicy;
use crate::config::providers::EmailTrust;
use crate::db::oauth_links::MAX_WITH_ONE_ADDRESS;
use crate::protocol::ids::{LinkId, UserId};

/// The newcomer's side.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer {
    pub email_verified: bool,
    /// How far the provider is believed about this very address.
    pub trust: EmailTrust,
}

/// A link, verified by its provider, with the same address (compared as ASCII without case; others never match).
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    pub link_id: LinkId,
    pub user_id: UserId,
    /// How far that link's provider is believed; `None` for one that is no longer configured, or of another issuer now.
    pub trust: EmailTrust,
    /// Neither disabled nor deleted.
    pub live: bool,
    /// Has an identity at the newcomer's provider already, so it cannot have a second.
    pub has_provider: bool,
}

/// What becomes of the newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeDecision {
    /// Nobody has this address, or nobody can be believed about it.
    Newcomer,
    /// An account has it: the person may be asked to prove that it is theirs by signing in there.
    Suggest,
    /// The identity joins this account, by the address of this link of it.
    Merge(UserId, LinkId),
}

/// Decides. Candidates come oldest first: an account is joined by the oldest link that has the address and is believed as far
/// as the policy demands. Of more than [`MAX_WITH_ONE_ADDRESS`] not all are known.
pub fn decide(policy: AccountMergePolicy, newcomer: Newcomer, candidates: &[Candidate]) -> MergeDecision {
    if !newcomer.email_verified || newcomer.trust < EmailTrust::Verified {
        // Nothing is said about the address to somebody who may not own it.
        return MergeDecision::Newcomer;
    }
    let believed: Vec<&Candidate> = candidates
        .iter()
        .filter(|candidate| candidate.trust >= EmailTrust::Verified)
        .collect();
    let Some(first) = believed.iter().find(|candidate| candidate.live) else {
        return MergeDecision::Newcomer;
    };
    let is_the_only_one = candidates.len() <= MAX_WITH_ONE_ADDRESS
        && believed
            .iter()
            .all(|candidate| candidate.user_id == first.user_id);
    let Some(demanded) = policy.demanded_trust().filter(|_| is_the_only_one) else {
        return MergeDecision::Suggest;
    };
    let joined_by = believed
        .iter()
        .find(|candidate| candidate.trust >= demanded && !candidate.has_provider);
    match joined_by {
        Some(link) if newcomer.trust >= demanded => MergeDecision::Merge(link.user_id, link.link_id),
        _ => MergeDecision::Suggest,
    }
}

/// Whether the newcomer's address is this account's, too, as far as anybody can be believed: then, and only then, was it
/// meant when an account was suggested to them.
pub fn was_meant(newcomer: Newcomer, candidates: &[Candidate], user_id: UserId) -> bool {
    newcomer.email_verified
        && newcomer.trust >= EmailTrust::Verified
        && candidates.iter().any(|candidate| {
            candidate.user_id == user_id && candidate.live && candidate.trust >= EmailTrust::Verified
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const ALICE: UserId = UserId(Uuid::from_u128(1));
    const MALLORY: UserId = UserId(Uuid::from_u128(2));
    const SURE: Newcomer = Newcomer {
        email_verified: true,
        trust: EmailTrust::Verified,
    };

    const LINK: LinkId = LinkId(Uuid::from_u128(3));

    fn link(user_id: UserId) -> Candidate {
        Candidate {
            link_id: LINK,
            user_id,
            trust: EmailTrust::Verified,
            live: true,
            has_provider: false,
        }
    }

    fn merging(newcomer: Newcomer, candidates: &[Candidate]) -> MergeDecision {
        decide(AccountMergePolicy::VerifiedEmail, newcomer, candidates)
    }

    #[test]
    fn an_address_verified_on_both_sides_joins_the_one_account() {
        assert_eq!(merging(SURE, &[link(ALICE)]), MergeDecision::Merge(ALICE, LINK));
        assert_eq!(
            merging(SURE, &[link(ALICE), link(ALICE)]),
            MergeDecision::Merge(ALICE, LINK)
        );
        let authoritative = Newcomer {
            trust: EmailTrust::Authoritative,
            ..SURE
        };
        assert_eq!(
            merging(authoritative, &[link(ALICE)]),
            MergeDecision::Merge(ALICE, LINK)
        );
    }

    /// AC-5: where an authoritative word is demanded, it is demanded of both sides; whoever has less is only asked.
    #[test]
    fn the_policy_can_demand_an_authoritative_word_on_both_sides() {
        let demanding =
            |newcomer, candidates: &[_]| decide(AccountMergePolicy::AuthoritativeEmail, newcomer, candidates);
        let owner = Newcomer {
            trust: EmailTrust::Authoritative,
            ..SURE
        };
        let authoritative = Candidate {
            link_id: LinkId(Uuid::from_u128(5)),
            trust: EmailTrust::Authoritative,
            ..link(ALICE)
        };
        assert_eq!(
            demanding(owner, &[link(ALICE), authoritative]),
            MergeDecision::Merge(ALICE, authoritative.link_id)
        );
        assert_eq!(demanding(SURE, &[authoritative]), MergeDecision::Suggest);
        assert_eq!(demanding(owner, &[link(ALICE)]), MergeDecision::Suggest);
        assert_eq!(
            demanding(owner, &[authoritative, link(MALLORY)]),
            MergeDecision::Suggest
        );
        assert_eq!(demanding(owner, &[]), MergeDecision::Newcomer);
    }

    /// "Exactly one" is not known of a list that was cut off.
    #[test]
    fn a_list_that_is_cut_off_merges_nothing() {
        let all = vec![link(ALICE); MAX_WITH_ONE_ADDRESS];
        assert_eq!(merging(SURE, &all), MergeDecision::Merge(ALICE, LINK));
        let cut_off = vec![link(ALICE); MAX_WITH_ONE_ADDRESS + 1];
        assert_eq!(merging(SURE, &cut_off), MergeDecision::Suggest);
    }

    /// What came by another link is younger than it.
    #[test]
    fn the_oldest_link_with_the_address_is_what_an_identity_joins_by() {
        let younger = Candidate {
            link_id: LinkId(Uuid::from_u128(4)),
            ..link(ALICE)
        };
        assert_eq!(
            merging(SURE, &[link(ALICE), younger]),
            MergeDecision::Merge(ALICE, LINK)
        );
    }

    #[test]
    fn without_the_policy_nobody_is_merged_only_asked() {
        assert_eq!(
            decide(AccountMergePolicy::None, SURE, &[link(ALICE)]),
            MergeDecision::Suggest
        );
        assert_eq!(
            decide(AccountMergePolicy::None, SURE, &[]),
            MergeDecision::Newcomer
        );
    }

    #[test]
    fn a_newcomer_whose_address_is_not_proven_learns_nothing() {
        for newcomer in [
            Newcomer {
                email_verified: false,
                ..SURE
            },
            Newcomer {
                trust: EmailTrust::None,
                ..SURE
            },
        ] {
            for policy in [AccountMergePolicy::VerifiedEmail, AccountMergePolicy::None] {
                assert_eq!(decide(policy, newcomer, &[link(ALICE)]), MergeDecision::Newcomer);
            }
        }
    }

    #[test]
    fn a_link_whose_provider_is_not_believed_does_not_count() {
        let doubtful = Candidate {
            trust: EmailTrust::None,
            ..link(MALLORY)
        };
        assert_eq!(merging(SURE, &[doubtful]), MergeDecision::Newcomer);
        assert_eq!(
            merging(SURE, &[doubtful, link(ALICE)]),
            MergeDecision::Merge(ALICE, LINK)
        );
    }

    #[test]
    fn two_accounts_or_a_second_identity_of_one_provider_are_only_asked() {
        assert_eq!(
            merging(SURE, &[link(ALICE), link(MALLORY)]),
            MergeDecision::Suggest
        );
        let taken = Candidate {
            has_provider: true,
            ..link(ALICE)
        };
        assert_eq!(merging(SURE, &[taken]), MergeDecision::Suggest);
    }

    #[test]
    fn an_account_that_is_not_live_is_never_joined_and_stands_in_the_way_of_another() {
        let disabled = Candidate {
            live: false,
            ..link(MALLORY)
        };
        assert_eq!(merging(SURE, &[disabled]), MergeDecision::Newcomer);
        assert_eq!(merging(SURE, &[disabled, link(ALICE)]), MergeDecision::Suggest);
    }

    #[test]
    fn an_account_was_meant_if_a_believed_link_of_it_has_the_address() {
        assert!(was_meant(SURE, &[link(MALLORY), link(ALICE)], ALICE));
        assert!(!was_meant(SURE, &[link(MALLORY)], ALICE));
        let doubtful = Candidate {
            trust: EmailTrust::None,
            ..link(ALICE)
        };
        let disabled = Candidate {
            live: false,
            ..link(ALICE)
        };
        assert!(!was_meant(SURE, &[doubtful, disabled], ALICE));
        let unsure = Newcomer {
            trust: EmailTrust::None,
            ..SURE
        };
        assert!(!was_meant(unsure, &[link(ALICE)], ALICE));
    }
}
