//! Keys are rotated under load while every app keeps its copy of the JWKS for as long as it may.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::Figure;
use crate::common::{Directory, TestProvider};
use crate::load::{Counts, Load, Manner};

const APPS: usize = 16;
const ROTATIONS: usize = 3;
/// What the JWKS may be cached for, shortened for the drill.
const MAX_AGE_SECS: u32 = 3;

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
                "{ROTATIONS} keys prepended under load and the first one removed when no app had a token of its any more, {APPS} apps that cache the JWKS for {MAX_AGE_SECS} s"
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
    // The means of the drill are a server, too, and what it says of the lists is noted as any other's.
    let home = TestProvider::with(|config| config.jwt.jwks_cache_max_age_secs = MAX_AGE_SECS).await;
    let configuration = home.configuration_text().replace(
        "[jwt]",
        &format!("[jwt]\njwks_cache_max_age_secs = {MAX_AGE_SECS}"),
    );
    let directory = Directory::with_key(&configuration);
    let process = directory.serve().await;
    let manner = Manner {
        jwks_max_age: Duration::from_secs(MAX_AGE_SECS.into()),
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
        if planned {
            until_active(&directory).await;
        }
        // The new key signs for a while.
        tokio::time::sleep(Duration::from_secs(u64::from(MAX_AGE_SECS) + 2)).await;
    }
    if planned {
        remove_the_oldest(&directory);
        process.signal(Signal::HUP);
        tokio::time::sleep(Duration::from_secs(u64::from(MAX_AGE_SECS) + 2)).await;
    }
    load.stop().await
}

/// Takes the last entry out of the configuration: no app has anything of its any more, since each has refreshed many times
/// since. (`riley-auth keys` calls it removable after as long as a token may live.)
fn remove_the_oldest(directory: &Directory) {
    let configuration = directory.configuration();
    let entry = configuration.rfind("[[jwt.keys]]").unwrap();
    let rest = &configuration[entry + 1..];
    let end = rest
        .find("\n[")
        .map_or(configuration.len(), |next| entry + 1 + next + 1);
    directory.write(&format!("{}{}", &configuration[..entry], &configuration[end..]));
}

/// Waits until `riley-auth keys` says that the key that was made last signs.
async fn until_active(directory: &Directory) {
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        let said = directory.run(&["keys", "--json"]);
        let keys: Vec<Value> = serde_json::from_slice(&said.stdout).unwrap();
        if keys[0]["stage"] == "active" {
            return;
        }
        assert!(Instant::now() < deadline, "it never signs: {keys:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
