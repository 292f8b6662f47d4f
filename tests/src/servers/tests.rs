//! The harness's own claims, each tried on the real server.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio_postgres::{Client, NoTls};

use super::{host::Host, kind::Kind, *};

const SOON: Duration = Duration::from_secs(20);

/// Longer than any of the servers takes for a simple answer.
const A_WHILE: Duration = Duration::from_millis(500);

/// Where the server's processes work, if it is made of processes: what must be gone in the end.
fn folder_of<K: Kind>(server: &Server<K>) -> Option<PathBuf> {
    match &server.host {
        Host::Process(process) => Some(process.folder().path().to_owned()),
        Host::Container(_) | Host::Given { .. } => None,
    }
}

/// By its own scan of `/proc`, not by the one that the harness kills with.
fn assert_gone(folder: Option<PathBuf>, addr: SocketAddr) {
    assert!(std::net::TcpStream::connect(addr).is_err(), "something still listens on {addr}");
    let Some(folder) = folder else { return };
    assert!(!folder.exists(), "{folder:?} is still there");
    let output = std::process::Command::new("sh").args(["-c", "ls -l /proc/[0-9]*/cwd 2>/dev/null"]).output().unwrap();
    let directories = String::from_utf8(output.stdout).unwrap();
    assert!(!directories.contains(folder.to_str().unwrap()), "processes still work in {folder:?}:\n{directories}");
}

async fn redis_command(addr: SocketAddr, words: &[&str]) -> String {
    let client = ::redis::Client::open(format!("redis://{addr}/")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = ::redis::cmd(words[0]);
    command.arg(&words[1..]);
    let answer: Option<String> = command.query_async(&mut connection).await.unwrap();
    answer.unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "the driver's task ends with its client")]
async fn postgres_client(postgres: &Postgres) -> Client {
    let (client, connection) = tokio_postgres::connect(postgres.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn count_of(client: &Client) -> i64 {
    client.query_one("SELECT count(*) FROM kept", &[]).await.unwrap().get(0)
}

async fn amqp_channel(rabbitmq: &RabbitMq) -> Channel {
    let connection = Connection::connect(rabbitmq.url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    channel
}

async fn declare_quorum_queue(channel: &Channel) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("kept".into(), options, arguments).await.unwrap();
}

#[expect(clippy::disallowed_methods, reason = "the harness is tried without the product's publisher")]
async fn publish(channel: &Channel, body: &[u8]) {
    let properties = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions::default();
    let confirm = channel.basic_publish("".into(), "kept".into(), options, body, properties).await.unwrap();
    assert!(confirm.await.unwrap().is_ack());
}

async fn take_one(rabbitmq: &RabbitMq) -> Vec<u8> {
    // The queue elects its leader after the broker has opened its door.
    let taken = eventually("a message from the queue", SOON, async || {
        let connection = Connection::connect(rabbitmq.url(), ConnectionProperties::default()).await;
        let channel = connection.map_err(|error| error.to_string())?.create_channel().await;
        let channel = channel.map_err(|error| error.to_string())?;
        let got = channel.basic_get("kept".into(), BasicGetOptions { no_ack: true }).await;
        let message = got.map_err(|error| error.to_string())?.ok_or("the queue is empty")?;
        Ok(message.delivery.data)
    });
    taken.await.unwrap().to_vec()
}

#[tokio::test]
async fn redis_comes_back_empty_on_the_same_port() {
    let redis = Redis::own().await.unwrap();
    let addr = redis.addr();
    redis_command(addr, &["SET", "key", "value"]).await;

    redis.kill().await.unwrap();
    assert!(TcpStream::connect(addr).await.is_err());
    redis.kill().await.expect("killing the dead is no error");
    redis.start().await.unwrap();
    assert_eq!(redis_command(addr, &["GET", "key"]).await, "");
    assert!(redis.start().await.is_err(), "it runs already");

    redis.stop().await.unwrap();
    assert!(TcpStream::connect(addr).await.is_err());
    redis.start().await.unwrap();
    redis_command(addr, &["SET", "key", "value"]).await;

    let folder = folder_of(&redis);
    drop(redis);
    assert_gone(folder, addr);
}

#[tokio::test]
async fn paused_server_keeps_connections_and_answers_later() {
    let redis = Redis::own().await.unwrap();
    let addr = redis.addr();
    redis.pause().await.unwrap();
    let mut answer = Box::pin(redis_command(addr, &["SET", "key", "value"]));
    assert!(timeout(A_WHILE, &mut answer).await.is_err(), "a frozen server answered");
    redis.resume().await.unwrap();
    assert_eq!(timeout(SOON, answer).await.unwrap(), "OK");

    redis.pause().await.unwrap();
    redis.stop().await.expect("a frozen server can be stopped");
    redis.start().await.unwrap();
    redis.pause().await.unwrap();
    redis.kill().await.expect("a frozen server can be killed");
    redis.start().await.unwrap();
    redis.pause().await.unwrap();
    let folder = folder_of(&redis);
    drop(redis);
    assert_gone(folder, addr);
}

#[tokio::test]
async fn postgres_keeps_what_was_committed() {
    let postgres = Postgres::own().await.unwrap();
    let client = postgres_client(&postgres).await;
    client.batch_execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)").await.unwrap();
    client.batch_execute("BEGIN; INSERT INTO kept VALUES (2)").await.unwrap();

    postgres.kill().await.unwrap();
    if let Host::Process(process) = &postgres.host {
        assert!(process.folder().residents().unwrap().is_empty(), "backends outlive the kill");
    }
    postgres.start().await.unwrap();
    let client = postgres_client(&postgres).await;
    assert_eq!(count_of(&client).await, 1, "the open transaction is rolled back");

    client.batch_execute("INSERT INTO kept VALUES (3)").await.unwrap();
    postgres.stop().await.unwrap();
    postgres.start().await.unwrap();
    let client = postgres_client(&postgres).await;
    assert_eq!(count_of(&client).await, 2);

    postgres.pause().await.unwrap();
    assert!(timeout(A_WHILE, count_of(&client)).await.is_err(), "a frozen backend answered");
    postgres.resume().await.unwrap();
    assert_eq!(timeout(SOON, count_of(&client)).await.unwrap(), 2);

    let (folder, addr) = (folder_of(&postgres), postgres.addr());
    drop(postgres);
    assert_gone(folder, addr);
}

#[tokio::test]
async fn rabbitmq_keeps_what_was_confirmed() {
    let rabbitmq = RabbitMq::own().await.unwrap();
    let channel = amqp_channel(&rabbitmq).await;
    declare_quorum_queue(&channel).await;
    rabbitmq.write_down_queues().await.unwrap();
    publish(&channel, b"before the kill").await;

    rabbitmq.kill().await.unwrap();
    assert!(TcpStream::connect(rabbitmq.addr()).await.is_err());
    rabbitmq.start().await.unwrap();
    assert_eq!(take_one(&rabbitmq).await, b"before the kill");

    publish(&amqp_channel(&rabbitmq).await, b"before the stop").await;
    rabbitmq.stop().await.unwrap();
    rabbitmq.start().await.unwrap();
    assert_eq!(take_one(&rabbitmq).await, b"before the stop");

    let (folder, addr) = (folder_of(&rabbitmq), rabbitmq.addr());
    drop(rabbitmq);
    assert_gone(folder, addr);
}

#[tokio::test]
async fn rabbitmq_blocks_while_frozen_or_alarmed() {
    let rabbitmq = RabbitMq::own().await.unwrap();
    let channel = amqp_channel(&rabbitmq).await;
    declare_quorum_queue(&channel).await;

    rabbitmq.pause().await.unwrap();
    let mut publishing = Box::pin(publish(&channel, b"into the ice"));
    assert!(timeout(A_WHILE, &mut publishing).await.is_err(), "a frozen broker confirmed");
    rabbitmq.resume().await.unwrap();
    timeout(SOON, publishing).await.unwrap();

    rabbitmq.raise_disk_alarm().await.unwrap();
    let mut publishing = Box::pin(publish(&channel, b"onto a full disk"));
    assert!(timeout(A_WHILE, &mut publishing).await.is_err(), "a broker without disk confirmed");
    rabbitmq.clear_disk_alarm().await.unwrap();
    timeout(SOON, publishing).await.unwrap();

    let error = rabbitmq.rabbitmqctl(&["no_such_command"]).await.unwrap_err();
    assert!(format!("{error:#}").contains("no_such_command"), "{error:#}");
}

#[tokio::test]
async fn shared_server_is_used_and_never_broken() {
    let own = Redis::own().await.unwrap();
    let shared = Redis::shared(own.url().to_owned()).await.unwrap();
    assert_eq!((shared.url(), shared.addr()), (own.url(), own.addr()));
    assert!(!shared.is_own() && own.is_own());
    for refused in [shared.kill().await, shared.stop().await, shared.start().await, shared.pause().await] {
        assert!(refused.unwrap_err().chain().any(|cause| cause.to_string().contains("TIDEGATE_TEST_REDIS_URL")));
    }
    own.kill().await.unwrap();
    assert!(Redis::shared(own.url().to_owned()).await.is_err());
}

#[tokio::test]
async fn failed_start_quotes_the_log() {
    let postgres = Postgres::own().await.unwrap();
    let Some(folder) = folder_of(&postgres) else { return };
    postgres.stop().await.unwrap();
    std::fs::write(folder.join("data/postgresql.auto.conf"), "no_such_setting = on\n").unwrap();
    let error = format!("{:#}", postgres.start().await.unwrap_err());
    assert!(error.contains("PostgreSQL does not start") && error.contains("no_such_setting"), "{error}");
    assert!(error.contains("ended by itself"), "{error}");
}

#[test]
fn url_via_a_proxy_keeps_the_rest() {
    let check = |url: &str, addr: &str, expected: &str| {
        let host = Host::Given { url_variable: "" };
        let addr: SocketAddr = addr.parse().unwrap();
        let server = Redis { url: url.to_owned(), addr, host, kind: PhantomData };
        assert_eq!(server.url_via(addr).unwrap(), expected);
    };
    check("amqp://guest:guest@127.0.0.1:20001/%2f", "127.0.0.1:9", "amqp://guest:guest@127.0.0.1:9/%2f");
    check("amqp://mq.example/%2f?heartbeat=5", "127.0.0.1:9", "amqp://127.0.0.1:9/%2f?heartbeat=5");
    check("redis://:pass@cache:6379/3", "[::1]:9", "redis://:pass@[::1]:9/3");
    check("postgres://postgres@127.0.0.1:5432/postgres", "127.0.0.1:9", "postgres://postgres@127.0.0.1:9/postgres");
}

// A stress loop breaks its server from a task of its own; this is about compiling.
#[test]
fn a_server_can_be_broken_from_another_thread() {
    fn assert_send<T: Send>(_: T) {}
    fn check<K: Kind>(server: &Server<K>) {
        assert_send((server.start(), server.kill(), server.stop(), server.pause(), server.resume()));
    }
    assert_send((RabbitMq::own(), Redis::shared_or_own(), Postgres::own()));
    let _ = (check::<super::rabbitmq::RabbitMqKind>, check::<super::redis::RedisKind>);
}

/// Set in the process that [`servers_of_a_killed_test_process_are_gone`] starts of this same program.
const VICTIM: &str = "TIDEGATE_TEST_VICTIM";

/// Does nothing in a normal run.
#[tokio::test]
async fn victim() {
    if find::variable(VICTIM).is_none() {
        return;
    }
    let rabbitmq = RabbitMq::own().await.unwrap();
    let postgres = Postgres::own().await.unwrap();
    for (folder, addr) in [(folder_of(&rabbitmq), rabbitmq.addr()), (folder_of(&postgres), postgres.addr())] {
        println!("server {addr} {}", folder.unwrap_or_default().display());
    }
    std::future::pending().await
}

// The promise behind every `static` server and every aborted run: SIGKILL leaves no time for a destructor.
#[tokio::test]
async fn servers_of_a_killed_test_process_are_gone() {
    let mut victim = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "servers::tests::victim", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let mut servers = Vec::new();
    while servers.len() < 2 {
        let line = lines.next_line().await.unwrap().expect("the victim ended before its servers were up");
        // The test runner's own output shares the line.
        let Some((_, server)) = line.split_once("server ") else { continue };
        let (addr, folder) = server.split_once(' ').unwrap();
        servers.push((addr.parse::<SocketAddr>().unwrap(), PathBuf::from(folder)));
    }
    victim.kill().await.unwrap();
    for (addr, folder) in servers {
        eventually("the server is gone", SOON, async || match TcpStream::connect(addr).await {
            Ok(_) => Err(format!("{addr} is still open")),
            Err(_) if folder.exists() => Err(format!("{folder:?} is still there")),
            Err(_) => Ok(()),
        })
        .await
        .unwrap();
        let folder = (folder != Path::new("")).then_some(folder);
        assert_gone(folder, addr);
    }
}
