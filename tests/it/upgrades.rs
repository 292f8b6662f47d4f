//! What an older build left behind.

use anyhow::Result;
use tidegate_tests::sender::{client, send};
use tidegate_tests::stack::{SOON, SOURCES, Stack};
use tidegate_tests::target::Target;

/// What a build with tables of version 2 left when it was killed: a payment that was applied, and two events whose
/// only attempt so far had failed.
const STORE_2: &str = include_str!("../../fixtures/store/2.sql");

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_an_older_build_goes_on() -> Result<()> {
    let target = Target::start().await?;
    let config = format!(
        "{SOURCES}\n[[handler]]\nname = \"payments\"\non = [\"stripe:**\"]\nrun = \"payments\"\n
         [[handler]]\nname = \"out\"\non = [\"github:**\"]\nrun = \"forward\"\nurl = {:?}\nretry = [\"1h\"]\n",
        target.url()
    );
    let mut stack = Stack::prepare(None, &config)?;
    std::fs::create_dir_all(stack.data())?;
    let store = rusqlite::Connection::open(stack.data().join("tidegate.db"))?;
    store.execute_batch(STORE_2)?;
    store.execute("UPDATE jobs SET ready_at = 0", [])?;
    store.close().map_err(|(_, error)| error)?;
    stack.start_ingest().await?;
    stack.until_ready().await?;
    for id in ["golden-1", "golden-2", "evt_golden_1"] {
        stack.until_status(id, "applied").await?;
    }
    assert_eq!(target.delivered().len(), 2);
    assert!(target.delivered().values().all(|&times| times == 1));
    let before = stack.number("SELECT SUM(amount) FROM balances").await?;
    let body = stack.text("SELECT CAST(body AS TEXT) FROM events WHERE event_id = 'evt_golden_1'")?;
    let again = send(&client(), &stack.url("stripe"), &tidegate_tests::sender::stripe(body)).await?;
    assert_eq!(again.status, 200, "{again:?}");
    let other = tidegate_tests::sender::payment("evt_new", "pi_new");
    assert_eq!(send(&client(), &stack.url("stripe"), &other).await?.outcome(), "accepted");
    stack.until_number("SELECT COUNT(*) FROM payments", 2, SOON).await?;
    assert_eq!(stack.number("SELECT COUNT(*) FROM inbox WHERE handler = 'payments'").await?, 2);
    assert!(stack.number("SELECT SUM(amount) FROM balances").await? > before);
    stack.finish().await
}
