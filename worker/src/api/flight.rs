//! Single flight: of many callers that want the same at once, one's work is done and all get its result.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_shared::tasks::Tasks;
use tokio::sync::watch;
use tracing::Instrument;

/// The work ended without a result: it panicked, or the process is ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the work for several callers ended without a result")]
pub(crate) struct FlightLost;

/// Work under way, by what it is for; clones share it.
///
/// Work goes on though all its callers are gone, so that what was paid for is kept. There is one work for a key at a
/// time: what bounds keys and their work bounds this.
#[derive(Clone)]
pub(crate) struct Flights<K, V> {
    under_way: Arc<Mutex<HashMap<K, Landed<V>>>>,
    tasks: Tasks,
}

/// Has the result once there is one, and closes once there cannot be one.
type Landed<V> = watch::Receiver<Option<V>>;

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}

impl<K, V> Flights<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// No work yet; each becomes a job of `tasks`.
    pub(crate) fn new(tasks: &Tasks) -> Self {
        Self { under_way: Arc::default(), tasks: tasks.clone() }
    }

    /// The result of the work for `key` that is under way, else of `work`. Nothing is remembered: once it has ended,
    /// the next caller's work runs. `work` must not wait for its own key.
    ///
    /// # Errors
    /// If the work ended without a result.
    ///
    /// # Cancel safety
    /// Dropped, the work goes on.
    pub(crate) async fn run<F>(&self, key: K, work: F) -> Result<V, FlightLost>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut landed = self.board(key, work);
        let result = landed.wait_for(Option::is_some).await.map_err(|_| FlightLost)?;
        result.clone().ok_or(FlightLost)
    }

    fn board<F>(&self, key: K, work: F) -> Landed<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (sender, landed) = watch::channel(None);
        match lock(&self.under_way).entry(key.clone()) {
            Entry::Occupied(flight) => return flight.get().clone(),
            Entry::Vacant(place) => place.insert(landed.clone()),
        };
        let flight = Flight { under_way: Arc::clone(&self.under_way), key, sender, result: None };
        let job = async move { flight.land(work.await) };
        drop(self.tasks.spawn_job(job.in_current_span()));
        landed
    }
}

/// One work under way. It lands when it is dropped: by its end, by a panic, or with its runtime.
struct Flight<K: Eq + Hash, V> {
    under_way: Arc<Mutex<HashMap<K, Landed<V>>>>,
    key: K,
    sender: watch::Sender<Option<V>>,
    result: Option<V>,
}

impl<K: Eq + Hash, V> Flight<K, V> {
    fn land(mut self, result: V) {
        self.result = Some(result);
    }
}

impl<K: Eq + Hash, V> Drop for Flight<K, V> {
    fn drop(&mut self) {
        // First: whoever reads the result and asks again must get a new one.
        lock(&self.under_way).remove(&self.key);
        if let Some(result) = self.result.take() {
            self.sender.send_replace(Some(result));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    /// Longest wait for anything that must happen.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Work that counts its runs, waits to be let go, and results in the number of its run.
    #[derive(Clone)]
    struct Work {
        runs: Arc<AtomicU32>,
        gate: Arc<Semaphore>,
    }

    impl Work {
        fn held() -> Self {
            Self { runs: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
        }

        fn let_go(&self) {
            self.gate.add_permits(1_000);
        }

        fn runs(&self) -> u32 {
            self.runs.load(Ordering::SeqCst)
        }

        fn run(&self) -> impl Future<Output = u32> + Send + 'static {
            let Self { runs, gate } = self.clone();
            async move {
                let run = 1 + runs.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.expect("the gate stays").forget();
                run
            }
        }
    }

    async fn soon<T>(what: impl Future<Output = T>) -> T {
        tokio::time::timeout(PATIENCE, what).await.expect("it happens soon")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thousand_callers_are_one_run() {
        let tasks = Tasks::new();
        let flights = Flights::new(&tasks);
        let work = Work::held();
        let waiting = Arc::new(AtomicU32::new(0));
        let callers: Vec<_> = (0..1_000)
            .map(|_| {
                let (flights, work, waiting) = (flights.clone(), work.clone(), Arc::clone(&waiting));
                tasks.spawn_job(async move {
                    let mut run = Box::pin(flights.run("a", work.run()));
                    assert!((&mut run).now_or_never().is_none());
                    waiting.fetch_add(1, Ordering::SeqCst);
                    run.await
                })
            })
            .collect();
        soon(async {
            while waiting.load(Ordering::SeqCst) < 1_000 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        work.let_go();
        for result in soon(join_all(callers)).await {
            assert_eq!(result.expect("no caller panics"), Ok(1));
        }
        assert_eq!(work.runs(), 1);
        assert!(lock(&flights.under_way).is_empty());
    }

    #[tokio::test]
    async fn work_goes_on_though_its_first_caller_is_dropped() {
        let tasks = Tasks::new();
        let flights = Flights::new(&tasks);
        let work = Work::held();
        assert!(flights.run("a", work.run()).now_or_never().is_none());
        let mut second = Box::pin(flights.run("a", work.run()));
        assert!((&mut second).now_or_never().is_none());
        work.let_go();
        assert_eq!(soon(second).await, Ok(1));
        assert_eq!(work.runs(), 1);
        assert_eq!(tasks.finish(PATIENCE).await, 0);
    }

    #[tokio::test]
    async fn a_failure_is_shared_and_not_remembered() {
        let tasks = Tasks::new();
        let flights: Flights<&str, Result<u32, u32>> = Flights::new(&tasks);
        let work = Work::held();
        let fail = || work.run().map(Err::<u32, u32>);
        let callers = join_all([flights.run("a", fail()), flights.run("a", fail())]);
        work.let_go();
        assert_eq!(soon(callers).await, [Ok(Err(1)), Ok(Err(1))]);
        assert_eq!(soon(flights.run("a", fail())).await, Ok(Err(2)), "the next caller's work runs");
    }

    #[tokio::test]
    async fn two_keys_do_not_wait_for_each_other() {
        let tasks = Tasks::new();
        let flights = Flights::new(&tasks);
        let held = Work::held();
        let mut first = Box::pin(flights.run("a", held.run()));
        assert!((&mut first).now_or_never().is_none());
        assert_eq!(soon(flights.run("b", async { 7 })).await, Ok(7));
        held.let_go();
        assert_eq!(soon(first).await, Ok(1));
    }

    #[tokio::test]
    async fn a_panic_strands_nobody() {
        let tasks = Tasks::new();
        let flights = Flights::new(&tasks);
        let work = Work::held();
        let panics = || work.run().map(|run| if run == 1 { panic!("the work panics") } else { run });
        let callers = join_all([flights.run("a", panics()), flights.run("a", panics())]);
        work.let_go();
        assert_eq!(soon(callers).await, [Err(FlightLost), Err(FlightLost)]);
        assert_eq!(soon(flights.run("a", panics())).await, Ok(2), "the key is free");
    }
}
