//! Buckets in Redis or Valkey, which all instances share.
//!
//! One script judges and counts in one step, by the server's own clock, so that instances whose clocks differ agree. It says
//! what [`Quota::judge`](super::rules::Quota::judge) says; a test holds the two against each other.

use std::fmt::Write as _;
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{Client, RedisError, Script, ScriptInvocation};
use secrecy::{ExposeSecret as _, SecretString};

use super::rules::{Bucket, Key, PERIOD, Prefix, Subject, Verdict};

/// No request waits longer for the answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(250);

/// Of [`Redis::try_out`]: below the buckets' prefix, since a user's rights may end with it.
const TRIAL_KEY: &str = "riley_auth:limit:{trial}";

/// `KEYS`: the buckets. `ARGV`: the period, then each bucket's interval, in microseconds. Gives how long to wait, in
/// microseconds; 0: admitted and counted. A bucket from before the clock was set back is written anew in any case: otherwise each
/// request would find it as full as the one before, until the clock has caught up. A number of a script has 53 bits, enough for microseconds until the year 2255.
const SCRIPT: &str = r"
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local period = tonumber(ARGV[1])
local wait, tats = 0, {}
for i, key in ipairs(KEYS) do
    local tat = tonumber(redis.call('GET', key) or now)
    if tat < now then tat = now end
    if tat > now + period then
        tat = now + period
        redis.call('SET', key, string.format('%.0f', tat), 'PX', math.ceil(period / 1000))
    end
    tats[i] = tat + tonumber(ARGV[i + 1])
    if tats[i] - now - period > wait then wait = tats[i] - now - period end
end
if wait == 0 then
    for i, key in ipairs(KEYS) do
        redis.call('SET', key, string.format('%.0f', tats[i]), 'PX', math.ceil((tats[i] - now) / 1000))
    end
end
return wait
";

/// The shared buckets. A clone is one more reference.
#[derive(Clone)]
pub(super) struct Redis {
    connection: ConnectionManager,
    script: Script,
}

impl Redis {
    /// Connects when it is first used, and again whenever the connection is lost. Fails only if `url` is no such URL.
    pub(super) fn new(url: &SecretString) -> Result<Self, RedisError> {
        // Attempts to connect again follow the requests that want to know, so one attempt is enough for each.
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_connection_timeout(Some(RESPONSE_TIMEOUT))
            .set_number_of_retries(0);
        Ok(Self {
            connection: ConnectionManager::new_lazy_with_config(Client::open(url.expose_secret())?, config)?,
            script: Script::new(SCRIPT),
        })
    }

    /// Whether the script may run and touch a key, in time. The bucket is nobody's and gone at once.
    pub(super) async fn try_out(&self) -> Result<(), RedisError> {
        let mut call = self.script.prepare_invoke();
        call.arg(micros(PERIOD)).key(TRIAL_KEY).arg(1);
        self.invoke(&call).await.map(|_| ())
    }

    /// One more request for all of these buckets.
    pub(super) async fn take(&self, buckets: &[Bucket]) -> Result<Verdict, RedisError> {
        let mut call = self.script.prepare_invoke();
        call.arg(micros(PERIOD));
        for (key, quota) in buckets {
            call.key(name(key)).arg(micros(quota.interval()));
        }
        match self.invoke(&call).await? {
            0 => Ok(Verdict::Admitted),
            wait => Ok(Verdict::Refused(Duration::from_micros(wait))),
        }
    }

    /// Runs the script.
    async fn invoke(&self, call: &ScriptInvocation<'_>) -> Result<u64, RedisError> {
        let mut connection = self.connection.clone();
        let asked = call.invoke_async::<u64>(&mut connection);
        let answer = tokio::time::timeout(RESPONSE_TIMEOUT, asked).await;
        answer.map_err(|_| RedisError::from((::redis::ErrorKind::Io, "no answer in time")))?
    }
}

/// The bucket's key. The part in braces puts buckets that are judged together into one slot of a cluster.
fn name(key: &Key) -> String {
    let limit = key.limit.as_str();
    match key.subject {
        Subject::Address(prefix) => format!("riley_auth:limit:{limit}:{{{}}}:{}", site(prefix), text(prefix)),
        Subject::Client(client) => format!("riley_auth:limit:{limit}:{{{}}}", hex(&client)),
        Subject::Guesser(client, prefix) => {
            format!(
                "riley_auth:limit:{limit}:{{{}}}:{}:{}",
                site(prefix),
                text(prefix),
                hex(&client)
            )
        }
    }
}

/// What a prefix and the larger one around it have in common.
fn site(prefix: Prefix) -> String {
    match prefix {
        Prefix::V6Subnet(address) => {
            let site = std::net::Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80));
            site.to_string()
        }
        Prefix::V6Site(address) => address.to_string(),
        Prefix::V4(address) => address.to_string(),
        Prefix::Unknown => "unknown".to_owned(),
    }
}

fn text(prefix: Prefix) -> String {
    match prefix {
        Prefix::V6Subnet(address) => format!("{address}/64"),
        Prefix::V6Site(address) => format!("{address}/48"),
        Prefix::V4(_) | Prefix::Unknown => site(prefix),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::rules::{Limit, Tier};
    use super::*;

    fn of_address(address: &str) -> (Key, Option<Key>) {
        let (fine, coarse) = Prefix::of(address.parse().ok());
        let key = |prefix| Key {
            limit: Limit::Tier(Tier::Auth),
            subject: Subject::Address(prefix),
        };
        (key(fine), coarse.map(key))
    }

    /// In a cluster a script may use keys of one slot alone, and what stands in braces decides the slot.
    #[test]
    fn buckets_that_are_judged_together_share_a_slot() {
        let (fine, coarse) = of_address("2001:db8:1:2::3");
        assert_eq!(
            name(&fine),
            "riley_auth:limit:auth:{2001:db8:1::}:2001:db8:1:2::/64"
        );
        assert_eq!(
            name(&coarse.unwrap()),
            "riley_auth:limit:auth:{2001:db8:1::}:2001:db8:1::/48"
        );
        assert_eq!(
            name(&of_address("192.0.2.7").0),
            "riley_auth:limit:auth:{192.0.2.7}:192.0.2.7"
        );
    }
}
