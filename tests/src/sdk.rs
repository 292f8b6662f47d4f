//! The vendors' own SDKs, as judges of our signatures: a process of Node.js, or of Python for what only PyPI has, that
//! signs and verifies line by line.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::sender::Signed;

/// The SDKs, installed at the versions of `tests/sdk/package-lock.json` and `tests/sdk/requirements.txt`.
#[derive(Debug)]
pub struct Sdk {
    _child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// Where in [`folder`] the libraries of PyPI are installed.
pub const PYTHON: &str = "python";

/// The folder with the SDKs' list.
#[must_use]
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sdk")
}

impl Sdk {
    /// Starts the process with the libraries of npm.
    ///
    /// # Errors
    /// If the SDKs are not installed: `cargo xtask test` does that.
    pub fn start() -> Result<Self> {
        Self::run("node", "sign.mjs", "node_modules")
    }

    /// Starts the process with those that only PyPI has. It only makes requests, and judges none.
    ///
    /// # Errors
    /// If the SDKs are not installed: `cargo xtask test` does that.
    pub fn start_python() -> Result<Self> {
        Self::run("python3", "sign.py", PYTHON)
    }

    fn run(program: &str, script: &str, libraries: &str) -> Result<Self> {
        if !folder().join(libraries).exists() {
            bail!("the vendors' SDKs are not installed in tests/sdk/{libraries}; `cargo xtask test` does that");
        }
        let mut command = Command::new(program);
        command.arg(script).current_dir(folder()).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{program} does not start"))?;
        let questions = child.stdin.take().context("standard input is piped")?;
        let answers = BufReader::new(child.stdout.take().context("standard output is piped")?).lines();
        Ok(Self { _child: child, questions, answers })
    }

    /// The headers that the SDK sends with this body.
    ///
    /// # Errors
    /// If the SDK refuses.
    pub async fn sign(&mut self, sdk: &str, secret: &str, body: &str, id: Option<&str>) -> Result<HeaderMap> {
        let answer = self.ask(json!({ "sdk": sdk, "secret": secret, "body": body, "id": id })).await?;
        headers_of(&answer).with_context(|| format!("{sdk} does not sign: {answer}"))
    }

    /// The whole request that the SDK makes of `body`, sent to `url`: its query, if it has one, and the request itself.
    ///
    /// # Errors
    /// If the SDK refuses.
    pub async fn make(&mut self, sdk: &str, secret: &str, url: &str, body: &str) -> Result<(String, Signed)> {
        let answer = self.ask(json!({ "sdk": sdk, "secret": secret, "url": url, "body": body })).await?;
        let headers = headers_of(&answer).with_context(|| format!("{sdk} does not sign: {answer}"))?;
        let text = |field: &str| answer[field].as_str().map(str::to_owned);
        let body = text("body").unwrap_or_else(|| body.to_owned()).into_bytes();
        Ok((text("query").unwrap_or_default(), Signed { headers, body }))
    }

    /// Says whether the SDK takes these headers for this body.
    ///
    /// # Errors
    /// If the SDK cannot be asked.
    pub async fn verify(&mut self, sdk: &str, secret: &str, headers: &HeaderMap, body: &str) -> Result<bool> {
        let headers: serde_json::Map<String, Value> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned().into()))
            .collect();
        let question = json!({ "sdk": sdk, "verify": true, "secret": secret, "headers": headers, "body": body });
        let answer = self.ask(question).await?;
        answer["valid"].as_bool().with_context(|| format!("{sdk} does not judge: {answer}"))
    }

    async fn ask(&mut self, question: Value) -> Result<Value> {
        self.questions.write_all(format!("{question}\n").as_bytes()).await?;
        let line = self.answers.next_line().await?.context("the SDKs' process ended")?;
        Ok(serde_json::from_str(&line)?)
    }
}

fn headers_of(answer: &Value) -> Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in answer["headers"].as_object().context("no headers")? {
        let value = value.as_str().context("a header is text")?;
        map.insert(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
    }
    Ok(map)
}
