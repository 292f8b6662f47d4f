//! Logs and metrics: how a process tells what it does.

use std::error::Error;
use std::fmt;
use std::io::IsTerminal;
use std::time::Duration;

use jiff::Timestamp;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::environment;
use crate::tasks::Tasks;

/// Buckets of every `*_seconds` histogram: from a local call to a handler's longest attempt.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// Observations of histograms wait in memory for so long at most.
const DRAIN_EVERY: Duration = Duration::from_secs(5);
/// lapin logs the end of every connection as an error, a wanted one too; our own health and reconnects say it better.
const QUIET: &str = "lapin=off";

/// Starts logging to standard error: lines for people on a terminal, JSON elsewhere.
///
/// `TIDEGATE_LOG` sets the levels, such as `debug` or `info,tidegate_worker=debug`; `usual` is what they are without
/// it. A second call changes nothing.
pub fn start_logging(usual: &str) {
    let levels = environment::variable("TIDEGATE_LOG").unwrap_or_else(|| usual.to_owned());
    let levels = format!("{QUIET},{levels}");
    let (filter, bad) = match EnvFilter::try_new(&levels) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(usual), Some(error)),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if std::io::stderr().is_terminal() {
        lines.with_target(false).try_init()
    } else {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    };
    if let (Ok(()), Some(error)) = (started, bad) {
        tracing::warn!(%error, "TIDEGATE_LOG is not valid and is left out");
    }
}

/// Starts collecting metrics; the handle renders them for Prometheus.
///
/// A task of `tasks` drains what histograms gathered, so that memory stays flat when nobody scrapes.
///
/// # Panics
/// If another recorder is installed already: one process, one recorder.
#[must_use]
pub fn start_metrics(tasks: &Tasks) -> PrometheusHandle {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .expect("the list of buckets is not empty")
        .install_recorder()
        .expect("metrics are started once in a process");
    metrics::gauge!("tidegate_start_time_seconds").set(Timestamp::now().as_second() as f64);
    let (drained, shutdown) = (handle.clone(), tasks.shutdown().clone());
    tasks.spawn("metrics", async move {
        while shutdown.run_until_cancelled(tokio::time::sleep(DRAIN_EVERY)).await.is_some() {
            drained.run_upkeep();
        }
    });
    handle
}

/// Shows an error with everything that caused it, in one line.
#[must_use]
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> Chain<'a> {
    Chain(error)
}

/// What [`chain`] gives.
#[derive(Debug)]
pub struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            let text = error.to_string();
            // Some libraries' errors say their cause's text themselves.
            if !last.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            last = text;
            next = error.source();
        }
        Ok(())
    }
}
