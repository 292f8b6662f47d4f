//! A few power cuts, as each change makes them. `cargo xtask power-cut` makes thousands.

use anyhow::Result;
use tidegate_chaos::power_cut::{Subject, cut};

const SEED: u64 = 11;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_power_cut_at_any_step() -> Result<()> {
    let trace = Subject::Embedded.record(SEED, 150).await?;
    cut(Subject::Embedded, &trace, 250, SEED)?;
    // A program that did not sync would be found out.
    let error = cut(Subject::Embedded, &trace.without_syncs(), 250, SEED).expect_err("nothing is safe");
    let reason = format!("{error:#}");
    assert!(reason.contains("answered and lost"), "{reason}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spooled_survives_a_power_cut_at_any_step() -> Result<()> {
    let trace = Subject::Spool.record(SEED, 150).await?;
    cut(Subject::Spool, &trace, 250, SEED)
}
