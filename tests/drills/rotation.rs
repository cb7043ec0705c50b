//! Keys are rotated under load while every app keeps its copy of the JWKS for as long as it may.

use std::time::Duration;

use rustix::process::Signal;

use crate::Figure;
use crate::common::{Directory, TestProvider};
use crate::load::{Counts, Load, Manner};

const APPS: usize = 16;
const ROTATIONS: usize = 3;
/// What the JWKS may be cached for, shortened for the drill.
const MAX_AGE_SECS: u64 = 3;

pub(crate) async fn run() -> Vec<Figure> {
    let planned = rotate(true).await;
    let (verified, unverifiable) = (Counts::of(&planned.verified), Counts::of(&planned.unverifiable));
    assert_eq!(unverifiable, 0, "a planned rotation is noticed by nobody");
    assert_eq!(Counts::of(&planned.wrong) + Counts::of(&planned.unanswered), 0);
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
                "{ROTATIONS} keys prepended under load, {APPS} apps that cache the JWKS for {MAX_AGE_SECS} s"
            ),
            format!(
                "{verified} tokens verified, {unverifiable} not; {}",
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
        &format!("[jwt]\njwks_cache_max_age_secs = {MAX_AGE_SECS}"),
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
    load.stop().await
}
