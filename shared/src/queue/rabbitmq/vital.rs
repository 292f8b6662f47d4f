//! One health out of the states of several connections: a worker is up only while it can both consume and publish.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::health::{Health, HealthCell};

/// The state of one of the connections behind a [`HealthCell`].
#[derive(Debug, Clone)]
pub(super) struct Vital {
    own: watch::Sender<Health>,
    at: usize,
    all: Arc<Mutex<Vec<Health>>>,
    cell: HealthCell,
}

impl Vital {
    /// One for each of `N` connections that `cell` stands for.
    pub(super) fn split<const N: usize>(cell: &HealthCell) -> [Self; N] {
        let all = Arc::new(Mutex::new(vec![Health::Starting; N]));
        std::array::from_fn(|at| Self {
            own: watch::Sender::new(Health::Starting),
            at,
            all: Arc::clone(&all),
            cell: cell.clone(),
        })
    }

    /// Says the new state of this connection.
    pub(super) fn set(&self, health: Health) {
        self.own.send_replace(health.clone());
        // The cell is set under the lock, so that two connections cannot overtake each other on the way to it.
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all[self.at] = health;
        self.cell.set(worst(&all));
    }

    /// This connection's own state.
    pub(super) fn watch(&self) -> watch::Receiver<Health> {
        self.own.subscribe()
    }
}

fn worst(all: &[Health]) -> Health {
    let severity = |health: &&Health| match health {
        Health::Up => 0,
        Health::Starting => 1,
        Health::Blocked(_) => 2,
        Health::Down(_) => 3,
        Health::Closed => 4,
    };
    all.iter().max_by_key(severity).cloned().unwrap_or(Health::Starting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_is_up_only_if_every_part_is() {
        let cell = HealthCell::starting("test");
        let [publish, consume] = Vital::split(&cell);
        publish.set(Health::Up);
        assert_eq!(cell.get(), Health::Starting);
        consume.set(Health::Up);
        assert_eq!(cell.get(), Health::Up);
        publish.set(Health::Blocked("disk".to_owned()));
        consume.set(Health::Down("gone".to_owned()));
        assert_eq!(cell.get(), Health::Down("gone".to_owned()));
        consume.set(Health::Up);
        assert_eq!(cell.get(), Health::Blocked("disk".to_owned()));
    }
}
