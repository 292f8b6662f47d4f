//! The servers of the distributed way, and where they are.

use std::sync::Arc;

use anyhow::Result;

use crate::servers::{Postgres, RabbitMq, Redis};

/// The three servers of the distributed way.
#[derive(Debug)]
pub struct Servers {
    /// RabbitMQ.
    pub rabbitmq: RabbitMq,
    /// Redis.
    pub redis: Redis,
    /// PostgreSQL.
    pub postgres: Postgres,
}

impl Servers {
    /// Servers that other tests use too.
    ///
    /// # Errors
    /// If one cannot be had; the error says what to install.
    pub async fn shared() -> Result<Arc<Self>> {
        let (rabbitmq, redis, postgres) =
            tokio::try_join!(RabbitMq::shared_or_own(), Redis::shared_or_own(), Postgres::shared_or_own())?;
        Ok(Arc::new(Self { rabbitmq, redis, postgres }))
    }

    /// Servers that this test may kill.
    ///
    /// # Errors
    /// If one cannot be had; the error says what to install.
    pub async fn own() -> Result<Arc<Self>> {
        let (rabbitmq, redis, postgres) = tokio::try_join!(RabbitMq::own(), Redis::own(), Postgres::own())?;
        Ok(Arc::new(Self { rabbitmq, redis, postgres }))
    }

    /// Has Redis forget everything.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn flush_redis(&self) -> Result<()> {
        let mut redis = redis::Client::open(self.redis.url())?.get_multiplexed_async_connection().await?;
        Ok(redis::cmd("FLUSHALL").arg("ASYNC").exec_async(&mut redis).await?)
    }
}

/// Where the servers of a stack are: one each, or several that stand in for each other.
#[derive(Debug, Clone)]
pub struct Urls {
    /// RabbitMQ's nodes.
    pub rabbitmq: Vec<String>,
    /// Redis, or the nodes of a cluster.
    pub redis: Vec<String>,
    /// PostgreSQL and its standbys.
    pub postgres: Vec<String>,
}

impl Urls {
    /// Those of single servers.
    #[must_use]
    pub fn of(servers: &Servers) -> Self {
        let one = |url: &str| vec![url.to_owned()];
        Self {
            rabbitmq: one(servers.rabbitmq.url()),
            redis: one(servers.redis.url()),
            postgres: one(servers.postgres.url()),
        }
    }
}
