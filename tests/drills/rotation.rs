//! Keys are rotated under load while every app keeps its copy of the JWKS for as long as it may.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Figure;
use crate::common::{Directory, TestProvider};
use crate::load::{Counts, Load, Manner};

const APPS: usize = 16;
const ROTATIONS: usize = 3;
/// What the JWKS may be cached for, shortened for the drill.
const MAX_AGE_SECS: u64 = 3;
/// How long what a key signed is good for, shortened, so that a key can be removed within the drill.
const TTL_SECS: u64 = 20;

pub(crate) async fn run() -> Vec<Figure> {
    let planned = rotate(true).await;
    let (verified, unverifiable) = (Counts::of(&planned.verified), Counts::of(&planned.unverifiable));
    assert_eq!(unverifiable, 0, "a planned rotation is noticed by nobody");
    assert_eq!(Counts::of(&planned.wrong) + Counts::of(&planned.unanswered), 0);
    let signed = planned.kids.lock().unwrap().len();
    assert_eq!(
        signed,
        ROTATIONS + 1,
        "each key signed, the first one and every new one"
    );
    let hasty = rotate(false).await;
    let noticed = Counts::of(&hasty.unverifiable);
    assert!(
        noticed > 0,
        "the drill would notice a key that signs before it is known"
    );
    vec![
        Figure::new(
            "rotation",
            format!(
                "{ROTATIONS} keys prepended under load and the first one removed when `keys` said so, {APPS} apps that cache the JWKS for {MAX_AGE_SECS} s"
            ),
            format!(
                "{verified} tokens verified by {signed} keys, {unverifiable} not; {}",
                planned.summary()
            ),
        ),
        Figure::new(
            "rotation",
            "the same with `signs_from` left out",
            format!(
                "{noticed} tokens could not be verified, {} could",
                Counts::of(&hasty.verified)
            ),
        ),
    ]
}

/// `planned`: with the `signs_from` that `generate-keys --prepend-to` writes.
async fn rotate(planned: bool) -> std::sync::Arc<Counts> {
    let home = TestProvider::start().await;
    let configuration = home.configuration_text().replace(
        "[jwt]",
        &format!(
            "[jwt]\njwks_cache_max_age_secs = {MAX_AGE_SECS}\naccess_token_ttl_secs = {}\nrefresh_token_ttl_secs = {TTL_SECS}",
            TTL_SECS - 1
        ),
    );
    let directory = Directory::with_key(&configuration);
    let process = directory.serve().await;
    let manner = Manner {
        jwks_max_age: Duration::from_secs(MAX_AGE_SECS),
        ..Manner::default()
    };
    let load = Load::start(&home, &home.served_at(process.address), APPS, manner).await;
    for _ in 0..ROTATIONS {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let made = directory.run(&["generate-keys", "--prepend-to", "riley-auth.toml"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        if !planned {
            let text = directory.configuration();
            let without: Vec<&str> = text
                .lines()
                .filter(|line| !line.starts_with("signs_from"))
                .collect();
            directory.write(&without.join("\n"));
        }
        process.signal(Signal::HUP);
        // Until the new key has signed for a while; `--prepend-to` leaves ten seconds for the reload.
        let wait_secs = if planned {
            MAX_AGE_SECS + 12
        } else {
            MAX_AGE_SECS + 2
        };
        tokio::time::sleep(Duration::from_secs(wait_secs)).await;
    }
    if planned {
        remove_the_oldest(&directory).await;
        process.signal(Signal::HUP);
        tokio::time::sleep(Duration::from_secs(MAX_AGE_SECS + 2)).await;
    }
    load.stop().await
}

/// Takes the last entry out of the configuration as soon as `riley-auth keys` calls it removable.
async fn remove_the_oldest(directory: &Directory) {
    let deadline = Instant::now() + Duration::from_secs(2 * TTL_SECS);
    loop {
        let said = directory.run(&["keys", "--json"]);
        let keys: Vec<serde_json::Value> = serde_json::from_slice(&said.stdout).unwrap();
        if keys.last().unwrap()["stage"] == "removable" {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "the first key never becomes removable: {keys:?}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let configuration = directory.configuration();
    let entry = configuration.rfind("[[jwt.keys]]").unwrap();
    let rest = &configuration[entry + 1..];
    let end = rest
        .find("\n[")
        .map_or(configuration.len(), |next| entry + 1 + next + 1);
    directory.write(&format!("{}{}", &configuration[..entry], &configuration[end..]));
}
