//! `cargo xtask test`: every test, with the set-up that it needs.

use std::process::Command;

use anyhow::{Context as _, Result};
use tidegate_tests::install::ensure_servers;
use tidegate_tests::sdk;
use tidegate_tests::servers::Kind;
use tidegate_tests::servers::postgres::PostgresKind;
use tidegate_tests::servers::rabbitmq::RabbitMqKind;
use tidegate_tests::servers::redis::RedisKind;
use tidegate_tests::stack::Servers;

use crate::lint::installed;
use crate::{cargo, run};

pub(crate) fn test(filter: &[String]) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(ensure_servers())?;
    install_sdks()?;
    // With the tests, whose dependencies ask for more features: apart from them most of it would be built twice.
    run(cargo().args(["build", "--workspace", "--bins", "--tests"]))?;
    run(cargo().args(["build", "--package", "tidegate-disk"]))?;
    println!("starting RabbitMQ, Redis and PostgreSQL for the tests that share them");
    let servers = runtime.block_on(Servers::shared())?;
    let urls = [
        (RabbitMqKind::URL_VARIABLE, servers.rabbitmq.url().to_owned()),
        (RedisKind::URL_VARIABLE, servers.redis.url().to_owned()),
        (PostgresKind::URL_VARIABLE, servers.postgres.url().to_owned()),
    ];
    let tested = run_tests(filter, &urls);
    // Dropped inside the runtime that they were started in.
    runtime.block_on(async move { drop(servers) });
    tested
}

/// The vendors' SDKs, at the versions of the lock file and of the two lists.
fn install_sdks() -> Result<()> {
    let mut npm = Command::new("npm");
    run(npm.args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(sdk::folder()))
        .context("the vendors' SDKs judge our signatures; install Node.js 20 and npm")?;
    let mut pip = Command::new("python3");
    // Of the environment older releases take what they know; an argument that they do not know ends them.
    pip.env("PIP_ROOT_USER_ACTION", "ignore").args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--upgrade", "--target", sdk::PYTHON]);
    pip.args(["--requirement", "requirements.txt", "--constraint", "constraints.txt"]);
    run(pip.current_dir(sdk::folder())).context("some of the vendors' SDKs are Python's; install Python 3 and pip")
}

fn run_tests(filter: &[String], urls: &[(&'static str, String)]) -> Result<()> {
    let urls = || urls.iter().map(|(name, url)| (name, url));
    if installed("nextest") {
        run(cargo().args(["nextest", "run", "--workspace"]).args(filter).envs(urls()))?;
    } else {
        println!("cargo-nextest is not installed: using cargo test");
        let mut tests = cargo();
        tests.args(["test", "--workspace", "--lib", "--bins", "--tests", "--"]).args(filter);
        run(tests.arg("--test-threads=2").envs(urls()))?;
    }
    if filter.is_empty() {
        run(cargo().args(["test", "--workspace", "--doc"]))?;
    }
    Ok(())
}
