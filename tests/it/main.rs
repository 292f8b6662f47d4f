//! Tidegate's integration tests: the real programs on real servers, each claim on both backends.

#![expect(clippy::disallowed_methods, reason = "tasks of a test end with its runtime")]

mod accepts;
mod account;
mod adapters_cache;
mod adapters_claims;
mod adapters_ledger;
mod adapters_queue;
mod admission;
mod apis;
mod batches;
mod canaries;
mod catalogue;
mod clusters;
mod conformance;
mod crashes;
mod deploys;
mod disks;
mod handlers;
mod handshakes;
mod hostile;
mod idempotency;
mod keys;
mod logins;
mod oauth;
mod operator;
mod orders;
mod outages;
mod promises;
mod refuses;
mod rejected;
mod replays;
mod retries;
mod rotations;
mod spool;
mod tidy;
mod upgrades;

/// Makes a test per backend of each function.
macro_rules! on_both_backends {
    ($($name:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() -> anyhow::Result<()> {
                super::$name(tidegate_tests::stack::Backend::Embedded).await
            })*
        }
        mod distributed {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() -> anyhow::Result<()> {
                super::$name(tidegate_tests::stack::Backend::Distributed).await
            })*
        }
    };
}
use on_both_backends;
