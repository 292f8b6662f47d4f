//! Hostile clients: honest senders beside thousands of slow ones, against as many that are merely connected.

use anyhow::{Result, ensure};
use tidegate_tests::attack::{Crowd, Manner, allow_open_files};

use super::{Bench, Load};
use crate::report::Finding;
use crate::site::{Setup, Site};

const NAME: &str = "hostile";
/// Slow clients, each with a connection.
const SLOW: usize = 2_000;
/// Connections of the honest.
const HONEST: usize = 64;

/// Of what the door can take beside idle clients, what honest senders send that leave it room.
const STEADY: f64 = 0.5;

/// What honest senders come to beside each crowd in turn, as fast as answers come and at a steady rate, and the processor
/// time of their events. The crowd has its own processor time from the same cores, which only the steady rate leaves it.
///
/// # Errors
/// If something of it fails, or the slow ones are not connected at the end.
pub async fn hostile(bench: &Bench) -> Result<Vec<Finding>> {
    allow_open_files(4 * SLOW as u64)?;
    let mut site = Site::new(None, Setup::default())?;
    let door = site.start("bench-door").await?;
    let (mut rates, mut shares, mut costs, mut steady) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.effort.rounds {
        let mut beside = Vec::new();
        let mut offered = None;
        for manner in [Manner::Idle, Manner::Slow] {
            let crowd = Crowd::gather(site.door()?, SLOW, manner).await?;
            let fast = Load::closed(bench.effort, HONEST).run(site.door()?, std::slice::from_ref(&door)).await?;
            let rate = *offered.get_or_insert(STEADY * fast.rate());
            let even = Load::open(bench.effort, rate).run(site.door()?, std::slice::from_ref(&door)).await?;
            beside.push([fast, even]);
            // Each is thrown out after header_timeout and comes back at once.
            ensure!(crowd.open() >= SLOW / 2, "{} of {SLOW} are connected", crowd.open());
            crowd.disperse().await;
        }
        let [[idle, even_idle], [slow, even_slow]] = &beside[..] else { unreachable!("there are two manners") };
        rates.push(slow.rate());
        shares.push(slow.rate() / idle.rate());
        costs.push(slow.cpu_micros(0) / idle.cpu_micros(0));
        steady.push(even_slow.rate() / even_idle.rate());
    }
    site.end().await?;
    let kept = "events/s at half of the door's rate, share of those beside idle ones";
    Ok(vec![
        Finding::new(NAME, "events/s beside 2,000 slow clients, share of those beside idle ones", shares)
            .at_least(0.95),
        Finding::new(NAME, kept, steady).at_least(0.95),
        Finding::new(NAME, "CPU an event beside 2,000 slow clients, times that beside idle ones", costs),
        Finding::new(NAME, "events/s beside 2,000 slow clients", rates),
    ])
}
