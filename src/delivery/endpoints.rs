//! What is known of the endpoints that deliveries go to, and how many places each may take.
//!
//! The places of a worker are few, and a receiver that does not answer keeps one for ten seconds. So endpoints that keep their
//! places for long may together have half of them, those of which nothing is known a quarter, and what is left is for those
//! that answer at once: however many slow receivers have a backlog, a prompt one never waits for them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::Outcome;
use super::attempt::Finished;
use super::breaker::Breaker;
use crate::db::deliveries::{Known, Pace};

/// An endpoint is slow while an attempt takes longer than this, and afterwards until one takes less.
const PROMPT_WITHIN: Duration = Duration::from_secs(1);
/// How long nothing is sent to an endpoint to which something could not be sent for a reason of our own: there may be more of
/// it, and none of it would get any further.
const HELD_FOR: time::Duration = time::Duration::seconds(10);
/// Endpoints that are remembered although nothing is under way to them. One that was forgotten is as one that is new.
const REMEMBERED: usize = 256;

/// What one instance knows.
#[derive(Debug, Default)]
pub struct Endpoints(HashMap<String, Endpoint>);

#[derive(Debug)]
struct Endpoint {
    /// When the attempts began that are under way.
    running: Vec<Instant>,
    breaker: Breaker,
    held_until: Option<OffsetDateTime>,
    /// As the last attempt showed.
    pace: Pace,
    /// When it was last dealt with.
    touched: Instant,
}

/// What may be claimed now.
#[derive(Debug)]
pub struct Places {
    /// In all.
    pub most: usize,
    /// Of these, to endpoints of which nothing is known.
    pub most_unknown: usize,
    /// Of these, to slow ones.
    pub most_slow: usize,
    /// To each that `known` does not name.
    pub per_endpoint: usize,
    /// The one that was dealt with last comes last.
    pub known: Vec<Known>,
}

impl Endpoint {
    fn new(at: Instant) -> Self {
        Self {
            running: Vec::new(),
            breaker: Breaker::default(),
            held_until: None,
            pace: Pace::Unknown,
            touched: at,
        }
    }

    fn pace(&self, at: Instant) -> Pace {
        let keeps_waiting = |since: &Instant| at.saturating_duration_since(*since) > PROMPT_WITHIN;
        if self.running.iter().any(keeps_waiting) {
            Pace::Slow
        } else {
            self.pace
        }
    }

    fn free(&mut self, since: Instant, at: Instant) {
        if let Some(index) = self.running.iter().position(|one| *one == since) {
            self.running.swap_remove(index);
        }
        self.touched = at;
    }
}

impl Endpoints {
    /// An attempt begins.
    pub fn began(&mut self, endpoint: &str, at: Instant) {
        let endpoint = self
            .0
            .entry(endpoint.to_owned())
            .or_insert_with(|| Endpoint::new(at));
        endpoint.running.push(at);
        endpoint.touched = at;
    }

    /// The attempt that began at `since` has ended and showed nothing of the endpoint.
    pub fn left(&mut self, endpoint: &str, since: Instant, at: Instant) {
        if let Some(endpoint) = self.0.get_mut(endpoint) {
            endpoint.free(since, at);
        }
    }

    /// The attempt that began at `since` has come to this. Whether the endpoint had been left alone before, and has failed
    /// again.
    pub fn ended(
        &mut self,
        endpoint: &str,
        since: Instant,
        finished: Finished,
        at: Instant,
        now: OffsetDateTime,
    ) -> bool {
        let endpoint = self
            .0
            .entry(endpoint.to_owned())
            .or_insert_with(|| Endpoint::new(at));
        endpoint.free(since, at);
        if matches!(finished.outcome, Outcome::NotAttempted { .. }) {
            endpoint.held_until = Some(now + HELD_FOR);
            return false;
        }
        endpoint.held_until = None;
        endpoint.pace = if finished.took > PROMPT_WITHIN {
            Pace::Slow
        } else {
            Pace::Prompt
        };
        if matches!(finished.outcome, Outcome::Retry { .. }) {
            let had_tripped = endpoint.breaker.has_tripped();
            endpoint.breaker.failed(now);
            had_tripped
        } else {
            // A final refusal is an answer, too.
            endpoint.breaker.succeeded();
            false
        }
    }

    /// What may be claimed, of `places` in all and `per_endpoint` for each.
    pub fn places(&mut self, places: usize, per_endpoint: usize, at: Instant, now: OffsetDateTime) -> Places {
        self.forget();
        let running = |of: &dyn Fn(Pace) -> bool| -> usize {
            let those = self.0.values().filter(|endpoint| of(endpoint.pace(at)));
            those.map(|endpoint| endpoint.running.len()).sum()
        };
        let most = places.saturating_sub(running(&|_| true));
        let (slow, unknown) = (
            running(&|pace| pace == Pace::Slow),
            running(&|pace| pace == Pace::Unknown),
        );
        let (for_slow, for_unknown) = ((places / 2).max(1), (places / 4).max(1));
        // Unknown ones that turned out to be slow still take from the places of both.
        let most_unknown = for_unknown
            .saturating_sub(unknown)
            .min((for_slow + for_unknown).saturating_sub(slow + unknown))
            .min(most);
        let most_slow = for_slow.saturating_sub(slow).min(most);
        let mut in_turn: Vec<(&String, &Endpoint)> = self.0.iter().collect();
        in_turn.sort_unstable_by_key(|(_, endpoint)| endpoint.touched);
        let known = in_turn.into_iter().map(|(name, endpoint)| {
            let pace = endpoint.pace(at);
            let admitted = endpoint.breaker.admits(per_endpoint, now);
            let capacity = match pace {
                _ if endpoint.held_until.is_some_and(|until| now < until) => 0,
                Pace::Prompt => admitted,
                Pace::Slow if most_slow > 0 => admitted,
                // One, to see what it does.
                Pace::Unknown if most_unknown > 0 => admitted.min(1),
                Pace::Slow | Pace::Unknown => 0,
            };
            Known {
                endpoint: name.clone(),
                capacity: capacity.saturating_sub(endpoint.running.len()),
                running: endpoint.running.len(),
                pace,
            }
        });
        Places {
            most,
            most_unknown,
            most_slow,
            per_endpoint: per_endpoint.min(1).min(most_unknown),
            known: known.collect(),
        }
    }

    /// What was not dealt with for the longest time makes room.
    fn forget(&mut self) {
        if self.0.len() <= 2 * REMEMBERED {
            return;
        }
        let mut idle: Vec<(Instant, String)> = self
            .0
            .iter()
            .filter(|(_, endpoint)| endpoint.running.is_empty())
            .map(|(name, endpoint)| (endpoint.touched, name.clone()))
            .collect();
        idle.sort_unstable();
        let surplus = idle.len().saturating_sub(REMEMBERED);
        for (_, name) in idle.drain(..surplus) {
            self.0.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-01 12:00 UTC);
    const DELIVERED: Outcome = Outcome::Delivered { status_code: 200 };
    const FAILED: Outcome = Outcome::Retry {
        code: "timed_out",
        status_code: None,
    };

    /// The attempt that began at `since` ended at `at`, with nothing to wait for but the receiver.
    fn end(endpoints: &mut Endpoints, name: &str, since: Instant, outcome: Outcome, at: Instant) -> bool {
        let took = at.saturating_duration_since(since);
        endpoints.ended(name, since, Finished { outcome, took }, at, NOW)
    }

    fn of<'a>(places: &'a Places, endpoint: &str) -> &'a Known {
        let mut known = places.known.iter();
        known.find(|known| known.endpoint == endpoint).unwrap()
    }

    #[test]
    fn an_endpoint_is_tried_once_and_then_gets_as_many_as_it_may() {
        let (mut endpoints, start) = (Endpoints::default(), Instant::now());
        let places = endpoints.places(10, 2, start, NOW);
        assert_eq!(
            (
                places.most,
                places.most_unknown,
                places.most_slow,
                places.per_endpoint
            ),
            (10, 2, 5, 1)
        );
        endpoints.began("a", start);
        assert_eq!(of(&endpoints.places(10, 2, start, NOW), "a").capacity, 0);
        end(
            &mut endpoints,
            "a",
            start,
            DELIVERED,
            start + Duration::from_millis(20),
        );
        let places = endpoints.places(10, 2, start, NOW);
        assert_eq!(
            (of(&places, "a").capacity, of(&places, "a").pace),
            (2, Pace::Prompt)
        );
    }

    #[test]
    fn slow_ones_leave_places_to_prompt_ones_however_many_they_are() {
        let (mut endpoints, start) = (Endpoints::default(), Instant::now());
        let later = start + PROMPT_WITHIN * 2;
        for name in ["a", "b", "c", "d", "e", "f", "g"] {
            endpoints.began(name, start);
        }
        // All of them are new, and keep their places.
        let places = endpoints.places(10, 2, later, NOW);
        assert_eq!(of(&places, "a").pace, Pace::Slow);
        assert_eq!((places.most, places.most_slow, places.most_unknown), (3, 0, 0));
        assert!(places.known.iter().all(|known| known.capacity == 0));
        assert_eq!(places.per_endpoint, 0);
        end(&mut endpoints, "a", start, FAILED, later);
        end(&mut endpoints, "b", start, FAILED, later);
        let places = endpoints.places(10, 2, later, NOW);
        assert_eq!((places.most, places.most_slow, places.most_unknown), (5, 0, 2));
        end(&mut endpoints, "c", start, FAILED, later);
        let places = endpoints.places(10, 2, later, NOW);
        assert_eq!((places.most_slow, of(&places, "c").capacity), (1, 2));
        // What answers in time is prompt again.
        endpoints.began("c", later);
        end(
            &mut endpoints,
            "c",
            later,
            DELIVERED,
            later + Duration::from_millis(5),
        );
        assert_eq!(of(&endpoints.places(10, 2, later, NOW), "c").pace, Pace::Prompt);
    }

    #[test]
    fn even_a_single_place_is_for_everybody() {
        let mut endpoints = Endpoints::default();
        let places = endpoints.places(1, 1, Instant::now(), NOW);
        assert_eq!((places.most, places.most_unknown, places.most_slow), (1, 1, 1));
    }

    #[test]
    fn what_was_not_attempted_says_nothing_of_the_endpoint_and_waits_a_little() {
        let (mut endpoints, start) = (Endpoints::default(), Instant::now());
        for _ in 0..10 {
            endpoints.began("a", start);
            let not_attempted = Outcome::NotAttempted { code: "not_signed" };
            let at = start + PROMPT_WITHIN * 2;
            assert!(!end(&mut endpoints, "a", start, not_attempted, at));
        }
        assert_eq!(of(&endpoints.places(10, 2, start, NOW), "a").capacity, 0);
        let places = endpoints.places(10, 2, start, NOW + HELD_FOR);
        assert_eq!(
            (of(&places, "a").capacity, of(&places, "a").pace),
            (1, Pace::Unknown)
        );
    }

    #[test]
    fn what_fails_after_a_pause_is_told() {
        let (mut endpoints, start) = (Endpoints::default(), Instant::now());
        let fail = |endpoints: &mut Endpoints| {
            endpoints.began("a", start);
            end(endpoints, "a", start, FAILED, start)
        };
        for _ in 0..5 {
            assert!(!fail(&mut endpoints));
        }
        assert_eq!(of(&endpoints.places(10, 2, start, NOW), "a").capacity, 0);
        assert!(fail(&mut endpoints));
    }

    #[test]
    fn endpoints_are_not_remembered_without_end() {
        let (mut endpoints, start) = (Endpoints::default(), Instant::now());
        endpoints.began("under way", start);
        for number in 0..10_000_u32 {
            let (name, at) = (
                format!("endpoint {number}"),
                start + Duration::from_millis(number.into()),
            );
            endpoints.began(&name, at);
            end(&mut endpoints, &name, at, FAILED, at);
            let places = endpoints.places(10, 2, at, NOW);
            assert!(places.known.len() <= 2 * REMEMBERED);
        }
        let places = endpoints.places(10, 2, start, NOW);
        assert_eq!(of(&places, "under way").running, 1);
        assert_eq!(of(&places, "endpoint 9999").running, 0);
    }
}
