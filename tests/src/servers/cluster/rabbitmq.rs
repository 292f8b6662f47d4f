//! Three nodes of RabbitMQ that can lose sight of each other.

use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use rustix::process::Signal;

use super::{AGREE, OF_PROGRAMS, start};
use crate::eventually::eventually;
use crate::servers::RabbitMq;
use crate::servers::port::Ports;
use crate::servers::process::{Process, clean_command};
use crate::servers::rabbitmq::{COOKIE, Release, lay_out_node};

/// What a node does of RabbitMQ that cannot see the others: `cluster_partition_handling`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutOff {
    /// It lets go of its clients.
    PauseMinority,
    /// It keeps them, and does nothing for them: the default, and all there is since 4.3.
    Ignore,
}

impl CutOff {
    pub(in crate::servers) fn setting(self) -> &'static str {
        match self {
            Self::PauseMinority => "pause_minority",
            Self::Ignore => "ignore",
        }
    }
}

/// Three nodes of RabbitMQ.
#[derive(Debug)]
pub struct RabbitMqCluster {
    /// The nodes.
    pub nodes: Vec<RabbitMq>,
    names: Vec<String>,
    /// Whether a node without a majority lets go of its clients.
    pub pauses: bool,
    /// Erlang's name server: it must outlive each of the nodes.
    _name_server: Process,
}

impl RabbitMqCluster {
    /// Starts the nodes and joins them.
    ///
    /// # Errors
    /// If one does not start or join.
    pub async fn start(cut_off: CutOff) -> Result<Self> {
        let release = Release::for_clusters().context(OF_PROGRAMS)?;
        let pauses = cut_off == CutOff::PauseMinority && release.knows_pause_minority();
        let (folder, ports) = (release.create_folder("epmd")?, Ports::reserve()?);
        let mut command = clean_command(&release.name_server()?, &folder);
        let name_port = ports.main();
        command.args(["-address", "127.0.0.1", "-port", &name_port.to_string()]);
        let name_server = Process::try_new(command, folder, ports, Signal::TERM)?;
        name_server.start()?;
        let (mut names, mut starting) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (name, process) = lay_out_node(&release, name_port, cut_off)?;
            names.push(name);
            starting.push(start(process));
        }
        let nodes = try_join_all(starting).await?;
        for node in &nodes[1..] {
            node.rabbitmqctl(&["stop_app"]).await?;
            node.rabbitmqctl(&["join_cluster", &names[0]]).await?;
            node.rabbitmqctl(&["start_app"]).await?;
        }
        Ok(Self { nodes, names, pauses, _name_server: name_server })
    }

    /// Every node's URL.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.url().to_owned()).collect()
    }

    /// The node that leads a queue, asked through the node `asked`.
    ///
    /// # Errors
    /// If it does not say, or nobody leads.
    pub async fn leader_of(&self, queue: &str, asked: usize) -> Result<usize> {
        eventually(&format!("{queue} has a leader"), AGREE, || async {
            let listed = self.nodes[asked].rabbitmqctl(&["list_queues", "name", "leader", "--quiet"]).await;
            let listed = listed.map_err(|error| format!("{error:#}"))?;
            let line = listed.lines().find(|line| line.split_whitespace().next() == Some(queue));
            let leader = line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or_default();
            self.names.iter().position(|name| name == leader).ok_or(listed)
        })
        .await
    }

    /// Takes a node's way to the others, and says when; clients reach it as before.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn isolate(&self, node: usize) -> Result<Instant> {
        let cut: String = self
            .others(node)
            .map(|other| format!("erlang:set_cookie('{other}', cut_off), erlang:disconnect_node('{other}'), "))
            .collect();
        // By the node's clock, which is ours: the tool takes seconds to start on a busy machine, and one to end.
        let cut_at = self.nodes[node].rabbitmqctl(&["eval", &format!("{cut} os:system_time(millisecond).")]).await?;
        let cut_at = UNIX_EPOCH + Duration::from_millis(cut_at.trim().parse()?);
        Ok(Instant::now() - cut_at.elapsed()?)
    }

    /// Gives it back.
    ///
    /// # Errors
    /// If the node does not answer, or does not join again.
    pub async fn heal(&self, node: usize) -> Result<()> {
        let mend: String =
            self.others(node).map(|other| format!("erlang:set_cookie('{other}', '{COOKIE}'), ")).collect();
        self.nodes[node].rabbitmqctl(&["eval", &format!("{mend} ok.")]).await?;
        self.until_whole(node).await
    }

    /// Waits until a node sees both others, and takes clients.
    ///
    /// # Errors
    /// If it does not.
    pub async fn until_whole(&self, node: usize) -> Result<()> {
        eventually("the cluster is whole", AGREE, || async {
            let running = self.nodes[node]
                .rabbitmqctl(&["eval", "length([Node || Node <- [node() | nodes()], rabbit:is_running(Node)])."])
                .await;
            match running {
                Ok(count) if count.trim() == "3" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await?;
        self.nodes[node].until_it_answers().await
    }

    fn others(&self, node: usize) -> impl Iterator<Item = &String> {
        self.names.iter().enumerate().filter(move |(at, _)| *at != node).map(|(_, name)| name)
    }
}
