//! What state a component is in, and how others watch it.

use std::fmt;

use tokio::sync::watch;

/// The state of one server or store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Never connected yet.
    Starting,
    /// It works.
    Up,
    /// It answers, but must not be given more work: a broker's memory or disk alarm, a full disk.
    Blocked(String),
    /// It cannot be reached.
    Down(String),
    /// We have closed it, because the process stops.
    Closed,
}

impl Health {
    /// Says whether it can be used.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Up)
    }

    /// The state as one word.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Blocked(_) => "blocked",
            Self::Down(_) => "down",
            Self::Closed => "closed",
        }
    }

    /// Why it is not up.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Starting | Self::Up | Self::Closed => None,
            Self::Blocked(reason) | Self::Down(reason) => Some(reason),
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            None => f.write_str(self.state()),
            Some(reason) => write!(f, "{}: {reason}", self.state()),
        }
    }
}

/// The writing end: owned by the component itself.
#[derive(Debug, Clone)]
pub struct HealthCell {
    name: &'static str,
    sender: watch::Sender<Health>,
}

impl HealthCell {
    /// A component that has not connected yet.
    #[must_use]
    pub fn starting(name: &'static str) -> Self {
        Self { name, sender: watch::Sender::new(Health::Starting) }
    }

    /// Says the new state; a change is logged once and shown in the metric `component_up`.
    pub fn set(&self, health: Health) {
        metrics::gauge!("tidegate_component_up", "component" => self.name).set(f64::from(u8::from(health.is_up())));
        self.sender.send_if_modified(|now| {
            if *now == health {
                return false;
            }
            // A different reason for the same trouble is not worth another line.
            if now.state() != health.state() {
                match &health {
                    Health::Up => tracing::info!(component = self.name, "up"),
                    Health::Closed => tracing::debug!(component = self.name, "closed"),
                    Health::Starting | Health::Blocked(_) | Health::Down(_) => {
                        tracing::warn!(component = self.name, state = %health, "not up");
                    }
                }
            }
            *now = health;
            true
        });
    }

    /// The state now.
    #[must_use]
    pub fn get(&self) -> Health {
        self.sender.borrow().clone()
    }

    /// The component's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// A reader that can wait for changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Health> {
        self.sender.subscribe()
    }
}
