//! Buckets in this process's memory: bounded, and a full table locks nobody out.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::rules::{Bucket, Key, PERIOD, Verdict};

/// Requests that hash to different shards do not wait for each other.
const SHARDS: usize = 16;
/// Of all shards together. An entry takes about 100 bytes.
const MAX_BUCKETS: usize = 131_072;

/// The buckets. Their hash has random keys, so that nobody can aim at one shard.
pub struct Memory {
    shards: [Mutex<HashMap<Key, Duration>>; SHARDS],
    hasher: RandomState,
    max_per_shard: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self::bounded(MAX_BUCKETS)
    }
}

impl Memory {
    fn bounded(max_buckets: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            max_per_shard: (max_buckets / SHARDS).max(1),
        }
    }

    /// One more request for all of these buckets: admitted if each of them admits it, and then counted by each of them.
    pub fn take(&self, buckets: &[Bucket], now: Duration) -> Verdict {
        if let refused @ Verdict::Refused(_) = self.look(buckets, now) {
            return refused;
        }
        for (key, quota) in buckets {
            self.with_shard(key, |shard| {
                let (_, tat) = quota.judge(shard.get(key).copied(), now);
                if shard.len() >= self.max_per_shard && !shard.contains_key(key) {
                    make_room(shard, self.max_per_shard, now);
                }
                shard.insert(*key, tat);
            });
        }
        Verdict::Admitted
    }

    /// What [`take`](Self::take) would say, without counting anything. Of several refusals the longest wait.
    pub fn look(&self, buckets: &[Bucket], now: Duration) -> Verdict {
        let waits = buckets.iter().filter_map(|(key, quota)| {
            let tat = self.with_shard(key, |shard| shard.get(key).copied());
            match quota.judge(tat, now).0 {
                Verdict::Admitted => None,
                Verdict::Refused(wait) => Some(wait),
            }
        });
        waits.max().map_or(Verdict::Admitted, Verdict::Refused)
    }

    /// Another store has refused: until its wait is over, [`look`](Self::look) does, too.
    pub fn remember_refusal(&self, buckets: &[Bucket], wait: Duration, now: Duration) {
        // Which of the buckets it was is not told. The first is the narrowest, so nobody else is held up by the memory of it.
        let Some((key, quota)) = buckets.first() else {
            return;
        };
        let tat = (now + wait + PERIOD).saturating_sub(quota.interval());
        self.with_shard(key, |shard| {
            if shard.len() >= self.max_per_shard && !shard.contains_key(key) {
                make_room(shard, self.max_per_shard, now);
            }
            let known = shard.entry(*key).or_insert(tat);
            *known = tat.max(*known);
        });
    }

    fn with_shard<T>(&self, key: &Key, work: impl FnOnce(&mut HashMap<Key, Duration>) -> T) -> T {
        let shard = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        // Every entry is whole by itself, so a panic elsewhere leaves nothing half done.
        work(&mut self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}

/// Drops the buckets that are full again, which say no more than none; if those are few, the eighth that is nearest to being
/// so. Whoever has used up most keeps its bucket.
fn make_room(shard: &mut HashMap<Key, Duration>, max: usize, now: Duration) {
    shard.retain(|_, tat| *tat > now);
    let enough = max - max.div_ceil(8);
    if shard.len() <= enough {
        return;
    }
    let mut tats: Vec<Duration> = shard.values().copied().collect();
    let surplus = tats.len() - enough;
    let (_, limit, _) = tats.select_nth_unstable(surplus - 1);
    let limit = *limit;
    let mut left = surplus;
    // Many may have the very same time.
    shard.retain(|_, tat| {
        let goes = left > 0 && *tat <= limit;
        left -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::rules::{Limit, Prefix, Quota, Subject, Tier};
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);
    const QUOTA: Quota = Quota(15);

    fn bucket(address: u32) -> Bucket {
        let key = Key {
            limit: Limit::Tier(Tier::Auth),
            subject: Subject::Address(Prefix::V4(Ipv4Addr::from_bits(address))),
        };
        (key, QUOTA)
    }

    fn exhaust(memory: &Memory, bucket: Bucket) {
        while memory.take(&[bucket], NOW) == Verdict::Admitted {}
    }

    /// What would refuse counts nothing anywhere, so that a small prefix does not eat up the larger one's share.
    #[test]
    fn a_request_is_counted_by_all_its_buckets_or_by_none() {
        let memory = Memory::default();
        exhaust(&memory, bucket(1));
        for _ in 0..100 {
            assert_ne!(memory.take(&[bucket(2), bucket(1)], NOW), Verdict::Admitted);
        }
        for _ in 0..15 {
            assert_eq!(memory.take(&[bucket(2)], NOW), Verdict::Admitted);
        }
    }

    #[test]
    fn a_look_counts_nothing() {
        let memory = Memory::default();
        for _ in 0..100 {
            assert_eq!(memory.look(&[bucket(1)], NOW), Verdict::Admitted);
        }
        assert_eq!(memory.len(), 0);
    }

    /// A stranger with many addresses fills the table; a new address is served all the same, and who has used up its share
    /// stays known.
    #[test]
    fn a_full_table_locks_nobody_out_and_forgets_the_least_first() {
        let memory = Memory::bounded(1600);
        for address in 0..100 {
            exhaust(&memory, bucket(address));
        }
        for address in 1000..101_000 {
            assert_eq!(
                memory.take(&[bucket(address)], NOW),
                Verdict::Admitted,
                "{address}"
            );
            assert!(memory.len() <= 1600);
        }
        for address in 0..100 {
            assert_ne!(
                memory.take(&[bucket(address)], NOW),
                Verdict::Admitted,
                "{address}"
            );
        }
    }

    /// What is as good as new is dropped before anything else.
    #[test]
    fn buckets_that_are_full_again_make_room() {
        let memory = Memory::bounded(160);
        for address in 0..160 {
            memory.take(&[bucket(address)], NOW);
        }
        for address in 1000..1160 {
            memory.take(&[bucket(address)], NOW + PERIOD);
        }
        assert!(memory.len() <= 160);
    }
}
