//! The scenarios: what runs, and what happens to it.

use crate::fault::Fault;
use crate::site::{Role, Shape};

/// Something that goes wrong, again and again.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// What runs.
    pub shape: Shape,
    /// What happens to it, each as likely as it stands here.
    pub faults: &'static [Fault],
    /// The longest pause between two faults, in milliseconds.
    pub calm_max: u64,
}

const EMBEDDED: Shape = Shape::Embedded { proxied: false };
const USUAL: Shape = Shape::Distributed { ingests: 2, workers: 2, proxied: false, spooling: false };
const PROXIED: Shape = Shape::Distributed { ingests: 2, workers: 2, proxied: true, spooling: false };
const SPOOLING: Shape = Shape::Distributed { ingests: 2, workers: 2, proxied: false, spooling: true };

const KILL_INGEST: Fault = Fault::Kill(Role::Ingest);
const KILL_WORKER: Fault = Fault::Kill(Role::Worker);

/// Every scenario.
pub const ALL: [Scenario; 13] = [
    Scenario {
        name: "embedded-kill",
        about: "the one process of the embedded way is killed",
        shape: EMBEDDED,
        faults: &[
            KILL_INGEST,
            KILL_INGEST,
            KILL_INGEST,
            KILL_INGEST,
            KILL_INGEST,
            KILL_INGEST,
            Fault::Stop(Role::Ingest),
        ],
        calm_max: 800,
    },
    Scenario {
        name: "ingest-kill",
        about: "ingests are killed, stopped and frozen for longer than a claim's lease",
        shape: USUAL,
        faults: &[
            KILL_INGEST,
            KILL_INGEST,
            KILL_INGEST,
            KILL_INGEST,
            KILL_INGEST,
            KILL_INGEST,
            KILL_INGEST,
            KILL_INGEST,
            KILL_INGEST,
            KILL_INGEST,
            KILL_INGEST,
            Fault::Stop(Role::Ingest),
            Fault::Freeze(Role::Ingest),
        ],
        calm_max: 800,
    },
    Scenario {
        name: "worker-kill",
        about: "workers are killed, stopped and frozen",
        shape: USUAL,
        faults: &[
            KILL_WORKER,
            KILL_WORKER,
            KILL_WORKER,
            KILL_WORKER,
            KILL_WORKER,
            KILL_WORKER,
            KILL_WORKER,
            KILL_WORKER,
            KILL_WORKER,
            KILL_WORKER,
            KILL_WORKER,
            Fault::Stop(Role::Worker),
            Fault::Freeze(Role::Worker),
        ],
        calm_max: 800,
    },
    Scenario {
        name: "rabbitmq-kill",
        about: "RabbitMQ is killed and stopped, programs with it",
        shape: USUAL,
        faults: &[Fault::KillRabbitMq, Fault::KillRabbitMq, Fault::StopRabbitMq],
        calm_max: 3_000,
    },
    Scenario {
        name: "redis-kill",
        about: "Redis is killed, frozen and emptied, programs killed with it",
        shape: USUAL,
        faults: &[Fault::KillRedis, Fault::KillRedis, Fault::FreezeRedis, Fault::FlushRedis],
        calm_max: 1_500,
    },
    Scenario {
        name: "postgres-kill",
        about: "PostgreSQL is killed and stopped, and its connections are ended",
        shape: USUAL,
        faults: &[Fault::KillPostgres, Fault::KillPostgres, Fault::StopPostgres, Fault::TerminateBackends],
        calm_max: 1_500,
    },
    Scenario {
        name: "alarms",
        about: "RabbitMQ has disk and memory alarms",
        shape: USUAL,
        faults: &[Fault::DiskAlarm, Fault::MemoryAlarm],
        calm_max: 2_000,
    },
    Scenario {
        name: "network",
        about: "lines from senders to ingests and from programs to servers are slow, cut, half open or dead",
        shape: PROXIED,
        faults: &[Fault::Network],
        calm_max: 1_000,
    },
    Scenario {
        name: "network-embedded",
        about: "the line from senders to the one process is slow, cut, half open or dead, and the process is killed",
        shape: Shape::Embedded { proxied: true },
        faults: &[Fault::Network, Fault::Network, Fault::Network, Fault::Network, KILL_INGEST],
        calm_max: 800,
    },
    Scenario {
        name: "spool",
        about: "RabbitMQ and the ingests that spool for it are killed",
        shape: SPOOLING,
        faults: &[Fault::KillRabbitMq, KILL_INGEST, KILL_INGEST, KILL_INGEST, Fault::DiskAlarm],
        calm_max: 1_500,
    },
    Scenario {
        name: "everything",
        about: "all of it",
        shape: Shape::Distributed { ingests: 2, workers: 2, proxied: true, spooling: true },
        faults: &[
            KILL_INGEST,
            KILL_INGEST,
            KILL_INGEST,
            KILL_WORKER,
            KILL_WORKER,
            KILL_WORKER,
            Fault::Freeze(Role::Ingest),
            Fault::Freeze(Role::Worker),
            Fault::Stop(Role::Ingest),
            Fault::Stop(Role::Worker),
            Fault::KillRabbitMq,
            Fault::StopRabbitMq,
            Fault::DiskAlarm,
            Fault::MemoryAlarm,
            Fault::KillRedis,
            Fault::FreezeRedis,
            Fault::FlushRedis,
            Fault::KillPostgres,
            Fault::StopPostgres,
            Fault::TerminateBackends,
            Fault::Network,
            Fault::Network,
            Fault::Network,
            Fault::Network,
        ],
        calm_max: 1_000,
    },
    Scenario {
        name: "soak",
        about: "nothing: memory and disk are measured",
        shape: USUAL,
        faults: &[],
        calm_max: 5_000,
    },
    Scenario {
        name: "soak-embedded",
        about: "nothing: memory and disk are measured",
        shape: EMBEDDED,
        faults: &[],
        calm_max: 5_000,
    },
];

impl Scenario {
    /// The scenario with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|scenario| scenario.name == name)
    }
}
