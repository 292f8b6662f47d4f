//! What is done to a site, and undone.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fastrand::Rng;
use tidegate_tests::chaos_proxy::{ChaosProxy, Direction, Fault as Wire, Side};
use tidegate_tests::servers::{Kind, Server};

use crate::site::{LEASE, Link, Role, Site};

/// Milliseconds for which a server is away.
const OUTAGE: std::ops::Range<u64> = 0..3_000;
/// Milliseconds for which a line is broken.
const NETWORK: std::ops::Range<u64> = 200..4_000;
/// How long something is frozen: for longer than a claim's lease.
const FREEZE: Duration = LEASE.saturating_add(Duration::from_secs(1));

/// A way to break something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL to a program.
    Kill(Role),
    /// SIGTERM to a program, which finishes what it has begun.
    Stop(Role),
    /// SIGSTOP to a program, for longer than a claim's lease.
    Freeze(Role),
    /// SIGKILL to RabbitMQ.
    KillRabbitMq,
    /// RabbitMQ is stopped and started.
    StopRabbitMq,
    /// RabbitMQ says that its disk is full.
    DiskAlarm,
    /// RabbitMQ says that its memory is full.
    MemoryAlarm,
    /// SIGKILL to Redis, which forgets everything.
    KillRedis,
    /// SIGSTOP to Redis, for longer than a claim's lease.
    FreezeRedis,
    /// `FLUSHALL`.
    FlushRedis,
    /// SIGKILL to PostgreSQL.
    KillPostgres,
    /// PostgreSQL is stopped and started.
    StopPostgres,
    /// `pg_terminate_backend` of every connection.
    TerminateBackends,
    /// A line is broken in some way: between a program and a server, or between senders and an ingest.
    Network,
}

impl Fault {
    /// Breaks, and mends. Answers with what it was, for the report.
    ///
    /// # Errors
    /// If something that is to be broken cannot be, or does not start again.
    pub async fn strike(self, site: &mut Site, rng: &mut Rng) -> Result<String> {
        match self {
            Self::Kill(role) => {
                let number = rng.usize(..site.count(role));
                site.crash(role, number).await?;
            }
            Self::Stop(role) => {
                let number = rng.usize(..site.count(role));
                site.restart(role, number).await?;
            }
            Self::Freeze(role) => {
                let number = rng.usize(..site.count(role));
                site.signal(role, number, "STOP").await?;
                tokio::time::sleep(FREEZE).await;
                site.signal(role, number, "CONT").await?;
            }
            Self::KillRabbitMq => outage(&site.servers()?.rabbitmq, true, site, rng).await?,
            Self::StopRabbitMq => outage(&site.servers()?.rabbitmq, false, site, rng).await?,
            Self::DiskAlarm => {
                site.servers()?.rabbitmq.raise_disk_alarm().await?;
                pause(rng, OUTAGE).await;
                site.servers()?.rabbitmq.clear_disk_alarm().await?;
            }
            Self::MemoryAlarm => {
                let rabbitmq = &site.servers()?.rabbitmq;
                rabbitmq.rabbitmqctl(&["set_vm_memory_high_watermark", "0"]).await?;
                pause(rng, OUTAGE).await;
                rabbitmq.rabbitmqctl(&["set_vm_memory_high_watermark", "0.4"]).await?;
            }
            Self::KillRedis => outage(&site.servers()?.redis, true, site, rng).await?,
            Self::FreezeRedis => {
                site.servers()?.redis.pause().await?;
                tokio::time::sleep(FREEZE).await;
                site.servers()?.redis.resume().await?;
            }
            Self::FlushRedis => site.servers()?.flush_redis().await?,
            Self::KillPostgres => outage(&site.servers()?.postgres, true, site, rng).await?,
            Self::StopPostgres => outage(&site.servers()?.postgres, false, site, rng).await?,
            Self::TerminateBackends => {
                let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                                 WHERE pid <> pg_backend_pid() AND datname = current_database()";
                site.connect_ledger().await?.batch_execute(terminate).await?;
            }
            Self::Network => return break_a_line(site, rng).await,
        }
        Ok(self.name().to_owned())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kill(Role::Ingest) => "kill -9 ingest",
            Self::Kill(Role::Worker) => "kill -9 worker",
            Self::Stop(Role::Ingest) => "stop ingest",
            Self::Stop(Role::Worker) => "stop worker",
            Self::Freeze(Role::Ingest) => "freeze ingest",
            Self::Freeze(Role::Worker) => "freeze worker",
            Self::KillRabbitMq => "kill -9 rabbitmq",
            Self::StopRabbitMq => "stop rabbitmq",
            Self::DiskAlarm => "disk alarm",
            Self::MemoryAlarm => "memory alarm",
            Self::KillRedis => "kill -9 redis",
            Self::FreezeRedis => "freeze redis",
            Self::FlushRedis => "flushall",
            Self::KillPostgres => "kill -9 postgres",
            Self::StopPostgres => "stop postgres",
            Self::TerminateBackends => "terminate backends",
            Self::Network => "network",
        }
    }
}

/// Takes a server away for a while; every second time a program is killed meanwhile.
async fn outage<K: Kind>(server: &Server<K>, kill: bool, site: &mut Site, rng: &mut Rng) -> Result<()> {
    if kill {
        server.kill().await?
    } else {
        server.stop().await?
    }
    pause(rng, OUTAGE).await;
    if rng.bool() {
        let role = if rng.bool() { Role::Ingest } else { Role::Worker };
        site.crash(role, rng.usize(..site.count(role))).await?;
    }
    server.start().await
}

/// A way to break a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// Every byte is late.
    Delay,
    /// Few bytes pass a second.
    Drip,
    /// It is reset after some bytes, in the middle of whatever is said.
    CutWithin,
    /// Nothing passes one way, and all of it is late; or it never arrives.
    Blackhole,
    /// One side is gone, and the other is not told.
    HalfOpen,
    /// What is asked arrives, and a reset comes in place of the answer: whoever asked does not know what became of it.
    DroppedReply,
    /// Nobody is let in.
    Refuse,
}

impl Break {
    const ALL: [Self; 7] =
        [Self::Delay, Self::Drip, Self::CutWithin, Self::Blackhole, Self::HalfOpen, Self::DroppedReply, Self::Refuse];

    fn name(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Drip => "drip",
            Self::CutWithin => "cut within a frame",
            Self::Blackhole => "one-way blackhole",
            Self::HalfOpen => "half open",
            Self::DroppedReply => "dropped reply",
            Self::Refuse => "refuse",
        }
    }

    fn begin(self, proxy: &ChaosProxy, rng: &mut Rng) {
        let direction = if rng.bool() { Direction::ToServer } else { Direction::ToClient };
        match self {
            Self::Delay => proxy.set(Wire::Delay(Duration::from_millis(rng.u64(20..600)))),
            Self::Drip => {
                let bytes_per_second = NonZeroU32::new(rng.u32(2_000..40_000)).unwrap_or(NonZeroU32::MIN);
                proxy.set(Wire::Drip { bytes_per_second });
            }
            Self::CutWithin => proxy.set(Wire::CutAfter { bytes: rng.u64(..30_000), direction }),
            Self::Blackhole => proxy.set(Wire::Blackhole { direction }),
            Self::HalfOpen => proxy.leave_half_open(if rng.bool() { Side::Client } else { Side::Server }),
            Self::DroppedReply => proxy.set(Wire::CutAfter { bytes: 0, direction: Direction::ToClient }),
            Self::Refuse => {
                proxy.set(Wire::Refuse);
                proxy.cut_all();
            }
        }
    }
}

async fn break_a_line(site: &Site, rng: &mut Rng) -> Result<String> {
    let (link, proxy) = rng.choice(site.proxies()).context("this scenario has no proxies")?;
    let fault = *rng.choice(&Break::ALL).context("there are ways to break a line")?;
    fault.begin(proxy, rng);
    pause(rng, NETWORK).await;
    // What a blackhole has swallowed arrives late, or, with its connection, never: a dropped confirm, a dropped reply.
    if rng.bool() {
        proxy.cut_all();
    }
    proxy.set(Wire::None);
    let place = match link {
        Link::Door(_) => "door",
        Link::IngestRabbitMq | Link::IngestRedis | Link::WorkerRabbitMq | Link::WorkerRedis | Link::WorkerPostgres => {
            "network"
        }
    };
    Ok(format!("{place}: {}", fault.name()))
}

async fn pause(rng: &mut Rng, milliseconds: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(rng.u64(milliseconds))).await;
}
