//! When a request is one too many: the generic cell rate algorithm, pure, and what is counted together.
//!
//! A bucket is one moment, the theoretical arrival time (TAT): until when the requests admitted so far would have taken if
//! they had come at the even rate. A request is admitted while that lies at most one period ahead. So a full period's worth
//! may come at once, after which they come at the rate, and no edge of a window lets twice as many through.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The period over which all limits are told.
pub const PERIOD: Duration = Duration::from_mins(1);

/// How many of the smaller prefixes' limits their larger prefix may use together.
const COARSE_FACTOR: u32 = 4;

/// So many requests per [`PERIOD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota(pub u32);

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Admitted,
    /// The next one would be admitted after this time, if no other comes.
    Refused(Duration),
}

impl Quota {
    /// The time that one request takes up.
    pub fn interval(self) -> Duration {
        PERIOD / self.0.max(1)
    }

    /// Judges one more request at `now` for a bucket whose TAT is `tat`; both count from the same start. With the verdict comes
    /// the bucket's new TAT.
    ///
    /// A TAT further ahead than any admitted request can have put it comes from a clock that was set back since: it counts
    /// as one period, so that nobody is locked out for longer.
    pub fn judge(self, tat: Option<Duration>, now: Duration) -> (Verdict, Duration) {
        let tat = tat.unwrap_or(now).clamp(now, now + PERIOD);
        let next = tat + self.interval();
        // Rounding down the interval must not admit one more than the quota.
        match next.checked_sub(now + PERIOD) {
            None | Some(Duration::ZERO) => (Verdict::Admitted, next),
            Some(wait) => (Verdict::Refused(wait), tat),
        }
    }

    /// The quota of the larger prefix around one of this.
    #[must_use]
    pub const fn coarse(self) -> Self {
        Self(self.0.saturating_mul(COARSE_FACTOR))
    }
}

/// The tiers of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Starting and finishing sign-ins.
    Auth,
    Standard,
    /// What everybody may read.
    Public,
    /// No route at all: scanners exhaust this one and nothing else.
    Unmatched,
}

/// The limits, as the label `tier` of the metric names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    Tier(Tier),
    /// Of a client that has proved who it is.
    Client,
    /// Of failed attempts to pass for a client, per client and source.
    SecretGuessing,
}

impl Limit {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Tier(Tier::Auth),
        Self::Tier(Tier::Standard),
        Self::Tier(Tier::Public),
        Self::Tier(Tier::Unmatched),
        Self::Client,
        Self::SecretGuessing,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tier(Tier::Auth) => "auth",
            Self::Tier(Tier::Standard) => "standard",
            Self::Tier(Tier::Public) => "public",
            Self::Tier(Tier::Unmatched) => "unmatched",
            Self::Client => "client",
            Self::SecretGuessing => "secret_guessing",
        }
    }
}

/// The addresses that count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prefix {
    V4(Ipv4Addr),
    /// A /64: what one host chooses its addresses from.
    V6Subnet(Ipv6Addr),
    /// A /48: what one customer chooses subnets from.
    V6Site(Ipv6Addr),
    /// Whoever's address is not known.
    Unknown,
}

impl Prefix {
    /// The smallest prefix that counts as one, and the larger one around it where there is one.
    pub fn of(address: Option<IpAddr>) -> (Self, Option<Self>) {
        match address.map(|address| address.to_canonical()) {
            None => (Self::Unknown, None),
            Some(IpAddr::V4(address)) => (Self::V4(address), None),
            Some(IpAddr::V6(address)) => {
                let cut = |bits: u32| Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - bits)));
                (Self::V6Subnet(cut(64)), Some(Self::V6Site(cut(48))))
            }
        }
    }
}

/// What a bucket counts for. A client is named by a digest: its id may be long, and anybody may make one up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Address(Prefix),
    Client([u8; 16]),
    Guesser([u8; 16], Prefix),
}

/// One bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub limit: Limit,
    pub subject: Subject,
}

/// A bucket and what it may hold.
pub type Bucket = (Key, Quota);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Duration = Duration::from_secs(1000);

    /// Sends `times` requests at `now`; how many are admitted.
    fn send(quota: Quota, tat: &mut Option<Duration>, now: Duration, times: u32) -> u32 {
        let mut admitted = 0;
        for _ in 0..times {
            let (verdict, next) = quota.judge(*tat, now);
            *tat = Some(next);
            admitted += u32::from(verdict == Verdict::Admitted);
        }
        admitted
    }

    #[test]
    fn a_quota_may_be_used_at_once_and_comes_back_evenly() {
        let (quota, mut tat) = (Quota(15), None);
        assert_eq!(send(quota, &mut tat, START, 100), 15);
        assert_eq!(
            quota.judge(tat, START).0,
            Verdict::Refused(Duration::from_secs(4))
        );
        assert_eq!(send(quota, &mut tat, START + Duration::from_millis(3999), 10), 0);
        assert_eq!(send(quota, &mut tat, START + Duration::from_secs(4), 10), 1);
        assert_eq!(send(quota, &mut tat, START + Duration::from_secs(100), 100), 15);
    }

    /// No edge of a window: what came just before a minute's end counts just after it.
    #[test]
    fn around_any_moment_hardly_more_than_the_quota_passes() {
        for quota in [15, 60, 300, 7] {
            let mut tat = None;
            let before = send(Quota(quota), &mut tat, START, quota * 2);
            let after = send(Quota(quota), &mut tat, START + Duration::from_secs(1), quota * 2);
            assert!(
                before + after <= quota + quota.div_ceil(10),
                "{before} + {after} of {quota}"
            );
        }
    }

    /// The wait that is told is true: after it one request passes, and not before.
    #[test]
    fn a_refusal_says_when_to_come_back() {
        let (quota, mut tat) = (Quota(60), None);
        send(quota, &mut tat, START, 60);
        let Verdict::Refused(wait) = quota.judge(tat, START).0 else {
            panic!("the quota is used up")
        };
        let nearly = wait.saturating_sub(Duration::from_nanos(1));
        assert!(matches!(quota.judge(tat, START + nearly).0, Verdict::Refused(_)));
        assert_eq!(quota.judge(tat, START + wait).0, Verdict::Admitted);
    }

    /// A clock that is set back locks nobody out for longer than a period.
    #[test]
    fn a_step_back_of_the_clock_locks_nobody_out() {
        let quota = Quota(60);
        let an_hour_ahead = Some(START + Duration::from_hours(1));
        let (verdict, tat) = quota.judge(an_hour_ahead, START);
        assert_eq!(verdict, Verdict::Refused(Duration::from_secs(1)));
        assert_eq!(
            quota.judge(Some(tat), START + Duration::from_secs(1)).0,
            Verdict::Admitted
        );
    }

    fn prefixes(address: &str) -> (Prefix, Option<Prefix>) {
        Prefix::of(Some(address.parse().unwrap()))
    }

    #[test]
    fn an_ipv6_host_is_its_subnet_and_a_mapped_address_is_ipv4() {
        assert_eq!(prefixes("2001:db8:1:2:3:4:5:6"), prefixes("2001:db8:1:2:ffff::1"));
        assert_ne!(prefixes("2001:db8:1:2::1").0, prefixes("2001:db8:1:3::1").0);
        assert_eq!(prefixes("2001:db8:1:2::1").1, prefixes("2001:db8:1:3::1").1);
        assert_ne!(prefixes("2001:db8:1::1").1, prefixes("2001:db8:2::1").1);
        assert_eq!(prefixes("::ffff:192.0.2.7"), prefixes("192.0.2.7"));
        assert_ne!(prefixes("192.0.2.7"), prefixes("192.0.2.8"));
    }

    proptest! {
        /// Whatever comes when: in any period at most twice the quota, and at once at most the quota.
        #[test]
        fn no_pattern_gets_more_than_burst_and_rate(
            quota in 1u32..400,
            gaps in prop::collection::vec(0u64..5_000, 1..400),
        ) {
            let quota = Quota(quota);
            let (mut tat, mut now, mut admitted) = (None, START, Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                let (verdict, next) = quota.judge(tat, now);
                tat = Some(next);
                if verdict == Verdict::Admitted {
                    admitted.push(now);
                }
            }
            for (index, from) in admitted.iter().enumerate() {
                let within = admitted[index..].iter().take_while(|at| **at < *from + PERIOD).count();
                prop_assert!(within <= 2 * quota.0 as usize);
                let at_once = admitted[index..].iter().take_while(|at| **at == *from).count();
                prop_assert!(at_once <= quota.0 as usize);
            }
        }
    }
}
