//! Short rounds of every kind of scenario, as each change runs them. `cargo xtask chaos` runs long ones.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tidegate_chaos::report::Tally;
use tidegate_chaos::round;
use tidegate_chaos::scenario::Scenario;
use tidegate_chaos::site::{Published, Publisher, Shape, Site};
use tidegate_tests::stack::Servers;

const LENGTH: Duration = Duration::from_secs(12);

/// Runs a round; an even seed publishes with lapin, an odd one directly.
async fn survives(name: &str, seed: u64) -> Result<Tally> {
    let scenario = Scenario::named(name).with_context(|| format!("there is no scenario {name}"))?;
    let servers = match scenario.shape {
        Shape::Embedded { .. } => None,
        Shape::Distributed { .. } => Some(Servers::own().await?),
    };
    let mut tally = Tally::of(name);
    let site = Site::start(scenario.shape, servers, None, Publisher::of_seed(seed)).await?;
    round::run(&scenario, site, seed, LENGTH, &mut tally).await?;
    assert!(tally.events > 0 && tally.faults.values().sum::<u64>() > 0, "{tally:?}");
    assert_eq!(tally.acknowledged + tally.unknown_kept, tally.applied + tally.dead, "{tally:?}");
    // Other errors may be about what was broken; this one never is.
    let dropped: Vec<_> = tally.logged_errors.iter().filter(|line| line.contains("dropped")).collect();
    assert!(dropped.is_empty(), "a delivery was dropped unsettled: {dropped:#?}");
    Ok(tally)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_process_is_killed_again_and_again() -> Result<()> {
    let tally = survives("embedded-kill", 4).await?;
    assert!(tally.integrity_checks > 0, "{tally:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_to_the_embedded_process_break_again_and_again() -> Result<()> {
    let tally = survives("network-embedded", 4).await?;
    assert!(tally.faults.keys().any(|name| name.starts_with("door: ")), "{tally:?}");
    assert!(tally.answers.contains_key("unknown"), "no reply was lost: {tally:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_to_servers_break_again_and_again() -> Result<()> {
    let tally = survives("network", 5).await?;
    assert_eq!(tally.round_log[0].published, Published::By(Publisher::Direct));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_breaks_again_and_again() -> Result<()> {
    let tally = survives("everything", 4).await?;
    assert_eq!(tally.round_log[0].published, Published::By(Publisher::Lapin));
    Ok(())
}
