//! Secrets that must never be shown: one of its own in every place where the configuration takes one, and everything that
//! the programs say, searched for each of them.
//!
//! Method: the programs log at the most talkative level, are used and misused in every way that touches a secret, and meet
//! servers that refuse them and repeat what they were sent. What is searched for is the text, and the forms in which it
//! travels: base64, wherever in it the secret stands, hexadecimal, and bytes as `Debug` writes them.

use std::fmt::Debug;
use std::fs::File;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_shared::config::Config;
use tidegate_tests::eventually::eventually;
use tidegate_tests::program::binary;
use tidegate_tests::sender::{client, hmac_hex};
use tidegate_tests::servers::{Postgres, RabbitMq, Redis};
use tidegate_tests::stack::SOON;
use tidegate_tests::upstream::{Asked, Does, Upstream};
use tokio::process::{Child, Command};

/// Where the configuration takes a secret, and the one place where a provider offers it.
const PLACES: [&str; 27] = [
    "hmac", "whsec", "gitlab", "basic", "plain", "jwt", "btree", "adyen", "graph", "twilio", "plaid", "admin", "shop",
    "seal", "crm", "stock", "payment", "notify", "analyt", "weather", "forward", "rabbit", "redis", "postgres", "meta",
    "word", OFFERED,
];
/// Of this one the configuration only says in which file it is kept.
const OFFERED: &str = "offered";

/// Every form of each canary, beside its place.
static FORMS: LazyLock<Vec<(&str, Vec<String>)>> =
    LazyLock::new(|| PLACES.into_iter().map(|place| (place, forms(&canary(place)))).collect());

/// The canary of a place: 32 bytes, so that it can be a key for everything.
fn canary(place: &str) -> String {
    assert!(PLACES.contains(&place), "{place}");
    format!("canary-{place:x<8}-0123456789abcdef")
}

/// The forms in which a canary could be shown.
fn forms(canary: &str) -> Vec<String> {
    let bytes: Vec<String> = canary.bytes().map(|byte| byte.to_string()).collect();
    let mut forms = vec![canary.to_owned(), hex::encode(canary), hex::encode_upper(canary), bytes.join(", ")];
    for before in 0..3_usize {
        let text = [&b"??"[..before], canary.as_bytes()].concat();
        // Three bytes are four characters. One that is made of what stands before or behind, too, may be any.
        let certain = (before * 8).div_ceil(6)..text.len() * 8 / 6;
        let encoded = [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)];
        forms.extend(encoded.iter().map(|encoded| encoded[certain.clone()].to_owned()));
    }
    forms
}

/// The canaries that stand in `text`, in whatever form.
fn shown_in(text: &str) -> Vec<String> {
    let shown = FORMS.iter().filter(|(_, forms)| forms.iter().any(|form| text.contains(form.as_str())));
    shown.map(|(place, _)| (*place).to_owned()).collect()
}

/// Everything that takes a secret, but for the servers of the distributed way. `give` writes a secret down, as text of its
/// own or as the name of where it stands; one that is offered is kept in the file `offered`.
fn config(upstream: &str, offered: &Path, give: &dyn Fn(&str, &str) -> String) -> String {
    let plain = |place| give(place, &canary(place));
    let pair = |place| give(place, &format!("user:{}", canary(place)));
    let base64 = |place| give(place, &format!("whsec_{}", STANDARD.encode(canary(place))));
    let hex = |place| give(place, &hex::encode(canary(place)));
    let source = |name: &str, provider: &str, secret: String| {
        format!("[[source]]\nname = {name:?}\nprovider = {provider:?}\nsecrets = [{secret}]\n")
    };
    let spelled = |name: &str, secret: String, scheme: &str| {
        format!("{}[source.signature]\nid = \"header:X-Id\"\n{scheme}\n", source(name, "hmac", secret))
    };
    let dated = format!("{{ value = {}, not_after = 2120-01-01T00:00:00Z }}", plain("hmac"));
    let api = |name: &str, auth: String| {
        format!("[api.{name}]\nbase_url = \"{upstream}/{name}\"\nretry = {{ attempts = 1 }}\n{auth}\n")
    };
    [
        format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = {}\n", plain("admin")),
        format!("[http]\nlisten = \"127.0.0.1:0\"\ncallers = {{ shop = {} }}\n", plain("shop")),
        format!("[oauth]\nkeys = [{}]\n", hex("seal")),
        api("crm", format!("key = {}", plain("crm"))),
        api("stock", format!("auth = \"basic\"\nkey = {}", pair("stock"))),
        api("payment", format!("auth = \"header:X-Key\"\nkey = {}", plain("payment"))),
        api("notify", format!("auth = \"query:key\"\nkey = {}", plain("notify"))),
        api("analytics", format!("auth = \"oauth2\"\noauth.token_url = \"{upstream}/token\"\noauth.client_id = \"user\"\noauth.client_secret = {}", plain("analyt"))),
        format!("[api.openweathermap]\nbase_url = \"{upstream}\"\nkey = {}\n", plain("weather")),
        source("hmac", "github", dated),
        source("whsec", "standard-webhooks", base64("whsec")),
        source("gitlab", "gitlab", plain("gitlab")),
        source("btree", "braintree", pair("btree")),
        source("adyen", "adyen", hex("adyen")),
        source("graph", "microsoft-graph", plain("graph")),
        source("twilio", "twilio", plain("twilio")) + "url = \"https://hooks.example.com/webhooks/twilio\"\n",
        source("plaid", "plaid", pair("plaid")),
        source("meta", "whatsapp", plain("meta")) + &format!("verify_token = {}\n", plain("word")),
        format!("[[source]]\nname = \"asana\"\nprovider = \"asana\"\noffered_secret = {offered:?}\n"),
        spelled("basic", pair("basic"), "kind = \"basic\"\nat = \"header:Authorization\""),
        spelled("plain", plain("plain"), "kind = \"plain-hash\"\nsigned = \"{secret}{body}\"\nheader = \"X-Sig\""),
        spelled("jwt", plain("jwt"), "kind = \"jwt\"\nheader = \"X-Sig\"\nbody_claim = \"sha256\""),
        "[[handler]]\nname = \"orders\"\non = [\"whsec:order.*\"]\nrun = \"orders\"\nretry = []\n".to_owned(),
        format!(
            "[[handler]]\nname = \"forward\"\non = [\"**\"]\nrun = \"forward\"\nretry = []\nurl = \"{upstream}/forward\"\nsecret = {}\n",
            base64("forward")
        ),
    ]
    .concat()
}

/// The secret itself, in the configuration.
fn literally(_: &str, text: &str) -> String {
    format!("{text:?}")
}

/// A program whose every word is kept.
struct Recorded {
    child: Child,
    log: PathBuf,
    listen: SocketAddr,
    admin: SocketAddr,
    http: Option<SocketAddr>,
}

impl Recorded {
    async fn start(program: &str, folder: &Path, arguments: &[&str], variables: &[(String, String)]) -> Result<Self> {
        let log = folder.join(format!("{program}.log"));
        let file = File::create(&log)?;
        let mut command = Command::new(binary(program)?);
        command.args(arguments).arg("--config").arg(folder.join("tidegate.toml"));
        command.env("TIDEGATE_LOG", "trace").env("RUST_BACKTRACE", "full").envs(variables.iter().cloned());
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        let child = command.spawn()?;
        let what = format!("{program} says where it listens");
        let found = eventually(&what, SOON, || async {
            let text = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
            starting(&text).ok_or(text)
        });
        let (listen, admin, http) = found.await?;
        Ok(Self { child, log, listen, admin, http })
    }

    /// Everything that it has said, once it has stopped.
    async fn said(mut self) -> Result<String> {
        let id = self.child.id().context("it runs")?;
        Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
        tokio::time::timeout(SOON, self.child.wait()).await??;
        Ok(std::fs::read_to_string(&self.log)?)
    }
}

fn starting(log: &str) -> Option<(SocketAddr, SocketAddr, Option<SocketAddr>)> {
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.find(|line| line["message"].as_str().is_some_and(|text| text.ends_with("is starting")))?;
    let address = |field: &str| line[field].as_str()?.parse().ok();
    let admin = address("admin")?;
    Some((address("listen").unwrap_or(admin), admin, address("http")))
}

async fn tidegate(arguments: &[&str], variables: &[(String, String)]) -> Result<String> {
    Ok(words(&output(arguments, variables).await?))
}

async fn output(arguments: &[&str], variables: &[(String, String)]) -> Result<Output> {
    let mut command = Command::new(binary("tidegate")?);
    Ok(command.args(arguments).envs(variables.iter().cloned()).output().await?)
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn get(url: &str, bearer: Option<&str>) -> Result<String> {
    let request = client().get(url);
    let request = match bearer {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let answer = request.send().await?;
    Ok(format!("{:?} {:?} {}", answer.status(), answer.headers().clone(), answer.text().await?))
}

#[test]
fn what_is_searched_for_is_found() {
    for place in PLACES {
        let canary = canary(place);
        assert_eq!(canary.len(), 32, "{place}");
        let forms = [
            canary.clone(),
            format!("Basic {}", STANDARD.encode(format!("user:{canary}"))),
            format!("whsec_{}", STANDARD.encode(&canary)),
            hex::encode(&canary),
            hex::encode_upper(&canary),
            format!("{:?}", canary.as_bytes()),
        ];
        assert!(forms.iter().all(|form| shown_in(form) == [place]), "{place}");
        for before in ["", "a", "ab", "abc", "{\"a\":\""] {
            let text = format!("{before}{canary}\"}}");
            for form in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text), hex::encode(&text)] {
                assert_eq!(shown_in(&form), [place], "behind {before:?}: {form}");
            }
        }
    }
    assert!(shown_in("canary-hmac").is_empty());
}

/// `Debug`, `Display` and panics of the configuration: as it is, and with every mistake at every secret.
#[test]
fn no_configuration_right_or_wrong_shows_a_secret() {
    let servers = "[backend]\nkind = \"distributed\"\nrabbitmq = [\"amqp://user:RABBIT@127.0.0.1:1/%2f\"]\n\
                   redis = \"redis://user:REDIS@127.0.0.1:1/0\"\npostgres = \"postgres://user:POSTGRES@127.0.0.1:1/app\"\n";
    let servers = ["rabbit", "redis", "postgres"]
        .into_iter()
        .fold(servers.to_owned(), |text, place| text.replace(&place.to_uppercase(), &canary(place)));
    let text = format!("{}{servers}", config("http://127.0.0.1:1", Path::new("/nowhere/offered"), &literally));
    let planted = PLACES.into_iter().filter(|place| *place != OFFERED).collect::<Vec<_>>();
    assert_eq!(shown_in(&text), planted, "every canary is planted");
    let parsed = Config::parse("tidegate.toml", &text, &|_| None).expect("the configuration is right");
    check(&parsed);
    check(&parsed.warnings);
    let panic = catch_unwind(AssertUnwindSafe(|| panic!("{parsed:?}"))).expect_err("it panics");
    check(panic.downcast_ref::<String>().expect("the panic's message"));

    let mut wrong = 0;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !shown_in(line).is_empty()) {
        let (key, value) = line.split_once('=').expect("a key and its value");
        let quoted = value.trim();
        for changed in [
            // Another name of the key, no value, a value of another type, spelled out, with white space, too short.
            format!("x{key}={value}"),
            format!("{key}={value}{value}"),
            format!("{key}= [[{quoted}]]"),
            format!("{key}= {{ valu = {quoted}, trim = 1 }}"),
            format!("{key}= {{ value = {quoted}, not_before = 1, trimm = true }}"),
            line.replace('"', "\" "),
            line.replace("canary", "\\u0007canary"),
            line.replace("://", ":/"),
            line.replace("://", "://\\n"),
            // The file ends in the middle of the secret, or right behind it.
            line.trim_end_matches(['"', ']', '}', ' ']).to_owned(),
            line.trim_end_matches([']', '}']).to_owned(),
        ] {
            let lines: Vec<&str> =
                text.lines().enumerate().map(|(at, old)| if at == number { &changed } else { old }).collect();
            let parsed = Config::parse("tidegate.toml", &lines.join("\n"), &|_| None);
            wrong += usize::from(parsed.is_err());
            if let Err(error) = &parsed {
                assert!(shown_in(&error.to_string()).is_empty(), "{changed}: {error}");
            }
            check(&parsed);
        }
    }
    assert!(wrong > 120, "the mistakes are mistakes: {wrong}");
}

/// Looks through `Debug` in both forms.
fn check<T: Debug>(value: &T) {
    let shown = format!("{value:?}{value:#?}");
    assert!(shown_in(&shown).is_empty(), "{:?} in {shown}", shown_in(&shown));
}

/// Answers as the systems of an order do, but the one whose turn it is repeats all that it was sent.
fn echo(turn: &AtomicUsize, asked: &Asked) -> Does {
    const SYSTEMS: [&str; 5] = ["/crm/", "/stock/", "/payment/", "/notify/", "/token"];
    let sent = || {
        let body = String::from_utf8_lossy(&asked.body);
        json!({ "error": "invalid_client", "error_description": format!("{} {:?} {body}", asked.path, asked.headers) })
    };
    let system = SYSTEMS.iter().position(|system| asked.path.starts_with(system));
    if asked.method != Method::DELETE && system.is_none_or(|system| system == turn.load(Ordering::Relaxed)) {
        return Does::answer(401, &sent());
    }
    if asked.method == Method::GET {
        Does::json(&json!({ "contacts": [] }))
    } else {
        Does::answer(201, &json!({ "id": "id-1" }))
    }
}

fn order(id: &str) -> String {
    json!({
        "id": id, "type": "order.created",
        "data": {
            "order_id": id, "customer": { "email": "ada@example.com", "name": "Ada Lovelace" },
            "currency": "EUR", "total": 4_998, "items": [{ "sku": "TEA-100", "quantity": 2 }], "payment_method": "pm_card"
        }
    })
    .to_string()
}

/// Where secrets stand: in turn in the configuration, the environment and files.
struct Planted {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Planted {
    fn plant(upstream: &str, more: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (variables, files) = (std::cell::RefCell::new(Vec::new()), folder.path().to_owned());
        let give = |place: &str, text: &str| match PLACES.iter().position(|other| *other == place).unwrap_or(0) % 3 {
            0 => literally(place, text),
            1 => {
                let name = format!("TIDEGATE_CANARY_{}", place.to_uppercase());
                variables.borrow_mut().push((name.clone(), text.to_owned()));
                format!("\"env:{name}\"")
            }
            _ => {
                let file = files.join(place);
                std::fs::write(&file, format!("{text}\n")).expect("a file");
                format!("{{ value = \"file:{}\", trim = true }}", file.display())
            }
        };
        let text = config(upstream, &files.join("offered-secret"), &give);
        std::fs::write(folder.path().join("tidegate.toml"), format!("{text}{more}"))?;
        let variables = variables.into_inner();
        Ok(Self { folder, variables })
    }

    fn path(&self) -> String {
        self.folder.path().join("tidegate.toml").display().to_string()
    }
}

/// A process with everything in it, and where it is reached.
struct Running {
    planted: Planted,
    door: String,
    admin: String,
    api: String,
}

/// One process, used and misused.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_process_says_shows_a_secret() -> Result<()> {
    let turn = Arc::new(AtomicUsize::new(0));
    let upstream = Upstream::start({
        let turn = Arc::clone(&turn);
        move |asked| echo(&turn, asked)
    })
    .await?;
    let planted = Planted::plant(&upstream.url(), "")?;
    let data = planted.folder.path().join("data").display().to_string();
    let arguments = ["dev", "--data", &data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let dev = Recorded::start("tidegate", planted.folder.path(), &arguments, &planted.variables).await?;
    let (door, admin) = (format!("http://{}", dev.listen), format!("http://{}", dev.admin));
    let api = format!("http://{}", dev.http.context("the worker's API")?);
    let running = Running { planted, door, admin, api };
    let mut said = running.command(&["check"]).await?;
    ensure!(said.contains("right"), "{said}");
    said += &running.receives().await?;
    said += &running.is_offered_a_secret().await?;
    said += &running.rejects().await?;
    for (number, system) in ["crm", "stock", "payment", "notify", "analytics"].iter().enumerate() {
        turn.store(number, Ordering::Relaxed);
        said += &running.takes_an_order(system).await?;
    }
    said += &get(&format!("{}/weather/London", running.api), Some(&canary("shop"))).await?;
    let asked = format!("{:?}", upstream.asked());
    for place in ["crm", "stock", "payment", "notify", "analyt", "weather"] {
        ensure!(shown_in(&asked).contains(&place.to_owned()), "{place} reaches its API: {asked}");
    }
    said += &looked_at(&running.door, &running.admin, &running.api).await?;
    for command in [&["events"][..], &["events", "show", "crm"], &["dead", "list"], &["dead", "list", "--json"]] {
        said += &running.operates(command).await?;
    }
    said += &running.explains().await?;
    upstream.stop().await;
    said += &get(&format!("{}/weather/Paris", running.api), Some(&canary("shop"))).await?;
    said += &dev.said().await?;
    ensure!(said.contains("\"level\":\"DEBUG\"") && said.contains("event refused"), "the log is there");
    nothing_is_shown_in(&said)
}

fn nothing_is_shown_in(said: &str) -> Result<()> {
    let lines: Vec<&str> = said.lines().filter(|line| !shown_in(line).is_empty()).take(20).collect();
    ensure!(shown_in(said).is_empty(), "{:?} are shown: {lines:#?}", shown_in(said));
    Ok(())
}

impl Running {
    async fn command(&self, arguments: &[&str]) -> Result<String> {
        let path = self.planted.path();
        tidegate(&[arguments, &["--config", &path]].concat(), &self.planted.variables).await
    }

    /// Requests that verify, so that each secret is known to be used, and requests that do not.
    async fn receives(&self) -> Result<String> {
        let mut said = String::new();
        for source in ["hmac", "whsec", "gitlab", "basic", "plain", "jwt"] {
            let send = ["send", source, "--url", &self.door];
            let accepted = self.command(&[&send[..], &["--id", "canary-1"]].concat()).await?;
            ensure!(accepted.contains("200 accepted"), "{source}: {accepted}");
            let tampered = self.command(&[&send[..], &["--tamper"]].concat()).await?;
            let wrong = [&send[..], &["--secret", "wrong wrong wrong wrong"]].concat();
            said += &[accepted, tampered, tidegate(&wrong, &self.planted.variables).await?].concat();
        }
        for source in ["btree", "adyen", "graph", "twilio", "plaid", "nobody"] {
            let url = format!("{}/webhooks/{source}", self.door);
            let sent = client().post(url).body("{\"value\":[{\"clientState\":\"x\"}]}");
            said += &sent.header("X-Twilio-Signature", "AAAA").send().await?.text().await?;
        }
        Ok(said)
    }

    /// The secret that a provider offers is taken and used, and no other one is. The answer repeats it in a header, as
    /// the protocol wants; nothing else does.
    async fn is_offered_a_secret(&self) -> Result<String> {
        let (url, offered) = (format!("{}/webhooks/asana", self.door), canary(OFFERED));
        let offer = |secret: &str| client().post(&url).header("x-hook-secret", secret).body("{}").send();
        let taken = offer(&offered).await?;
        let repeated = taken.headers().get("x-hook-secret").and_then(|value| value.to_str().ok());
        ensure!(repeated == Some(offered.as_str()), "{taken:?}");
        let mut said = taken.text().await?;
        let body = r#"{"events":[{"action":"changed","resource":{"resource_type":"task"}}]}"#;
        let event = |signature: String| client().post(&url).header("x-hook-signature", signature).body(body).send();
        let accepted = event(hmac_hex(&offered, &[body.as_bytes()])).await?.text().await?;
        ensure!(accepted.contains("accepted"), "{accepted}");
        said += &accepted;
        for refused in [event("00".repeat(32)).await?, offer("a-secret-of-a-stranger-who-would").await?] {
            ensure!(refused.status().as_u16() == 401, "{refused:?}");
            said += &format!("{:?} {}", refused.headers().clone(), refused.text().await?);
        }
        Ok(said)
    }

    /// Requests that do not verify, with secrets of ours wherever a sender may put one: they are kept without.
    async fn rejects(&self) -> Result<String> {
        let (word, offered) = (canary("word"), canary(OFFERED));
        let [meta, hmac, asana] = ["meta", "hmac", "asana"].map(|source| format!("{}/webhooks/{source}", self.door));
        let ask = |word: &str| format!("{meta}?hub.mode=subscribe&hub.verify_token={word}&hub.challenge=1158201444");
        let mut said = get(&ask(&word), None).await?;
        ensure!(said.starts_with("200") && said.contains("1158201444"), "the word is the one: {said}");
        said += &get(&ask(&format!("{word}x")), None).await?;
        let http = client();
        for request in [
            http.post(format!("{meta}?hub.verify_token={word}")),
            http.post(&asana).header("x-hook-signature", "00").bearer_auth(&offered),
            http.post(&hmac).header("x-hook-secret", &offered),
            http.post(&hmac).header("x-word", &word),
            http.post(&hmac).header("cookie", format!("word={word}; offered={offered}")),
            http.post(&hmac).body(format!("{{\"word\":\"{word}\"}}")),
            http.post(&hmac).body(format!("{{\"offered\":\"{offered}\"}}")),
            http.post(format!("{hmac}?last")),
        ] {
            let answer = request.send().await?;
            ensure!(answer.status().is_client_error(), "{answer:?}");
            said += &answer.text().await?;
        }
        Ok(said)
    }

    /// All that is told of the requests that were kept.
    async fn explains(&self) -> Result<String> {
        let (url, token) = (format!("{}/v1/rejected", self.admin), canary("admin"));
        let rows = eventually("the last one is kept", SOON, || async {
            let asked = client().get(format!("{url}?limit=1000")).bearer_auth(&token).send().await;
            let found = asked.map_err(|error| error.to_string())?.json().await;
            let found: Value = found.map_err(|error| error.to_string())?;
            let rows = found["items"].as_array().cloned().unwrap_or_default();
            let is_there = rows.iter().any(|row| row["target"] == "/webhooks/hmac?last");
            if is_there { Ok(rows) } else { Err(found.to_string()) }
        })
        .await?;
        let mut said = json!(rows).to_string();
        for row in &rows {
            let id = row["id"].as_str().context("an id")?;
            said += &get(&format!("{url}/{id}"), Some(&token)).await?;
            for command in [&["rejected", "show", id][..], &["explain", id]] {
                said += &self.operates(command).await?;
            }
        }
        for command in [&["rejected", "list"][..], &["rejected", "list", "--json", "--limit", "1000"]] {
            said += &self.operates(command).await?;
        }
        // Each in its place, with a marker where the secret was.
        for name in ["hub.verify_token=", "x-hook-secret: ", "x-word: ", "authorization: "] {
            ensure!(said.contains(&format!("{name}sealed-")), "{name} in {said}");
        }
        Ok(said)
    }

    /// A command to the admin API, which must be answered.
    async fn operates(&self, arguments: &[&str]) -> Result<String> {
        let token = [("TIDEGATE_ADMIN_TOKEN".to_owned(), canary("admin"))];
        let output = output(&[arguments, &["--admin", &self.admin]].concat(), &token).await?;
        ensure!(output.status.success(), "{arguments:?}: {}", words(&output));
        Ok(words(&output))
    }

    /// What this system refuses, with all that it was sent in its answer.
    async fn takes_an_order(&self, system: &str) -> Result<String> {
        let file = self.planted.folder.path().join("order.json");
        std::fs::write(&file, order(system))?;
        let file = file.display().to_string();
        let place = ["send", "whsec", "--url", &self.door, "--id", system, "--type", "order.created", "--file", &file];
        let said = self.command(&place).await?;
        let url = format!("{}/v1/events/{system}", self.admin);
        eventually(&format!("the order to {system} is over"), SOON, || async {
            let asked = client().get(&url).bearer_auth(canary("admin")).send().await;
            let found = asked.map_err(|error| error.to_string())?.json().await;
            let found: Value = found.map_err(|error| error.to_string())?;
            let handlers = found["items"][0]["handlers"].as_array().cloned().unwrap_or_default();
            let is_over = handlers.len() == 2 && handlers.iter().all(|handler| handler["status"] == "dead");
            if is_over { Ok(()) } else { Err(found.to_string()) }
        })
        .await?;
        Ok(said)
    }
}

/// Every page that the process serves, to those who may read it and to those who may not.
async fn looked_at(door: &str, admin: &str, api: &str) -> Result<String> {
    let mut seen = String::new();
    for url in [format!("{door}/health"), format!("{door}/ready"), format!("{admin}/health")] {
        seen += &get(&url, None).await?;
    }
    for path in ["/metrics", "/v1/events", "/v1/dead-letters", "/v1/rejected", "/openapi.json", "/docs/"] {
        for token in [None, Some("wrong"), Some(&*canary("admin"))] {
            seen += &get(&format!("{admin}{path}"), token).await?;
        }
    }
    let dead: Value =
        client().get(format!("{admin}/v1/dead-letters")).bearer_auth(canary("admin")).send().await?.json().await?;
    let letters = dead["items"].as_array().context("dead letters")?;
    ensure!(letters.len() >= 5, "{dead}");
    for letter in letters {
        let id = letter["id"].as_str().context("an id")?;
        seen += &get(&format!("{admin}/v1/dead-letters/{id}"), Some(&canary("admin"))).await?;
    }
    for path in ["/health", "/weather/London", "/openapi.json"] {
        for token in [None, Some("wrong"), Some(&*canary("shop"))] {
            seen += &get(&format!("{api}{path}"), token).await?;
        }
    }
    Ok(seen)
}

/// The processes of the distributed way, with passwords that their servers do not take.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_said_of_servers_shows_a_password() -> Result<()> {
    let (rabbitmq, redis, postgres) =
        tokio::try_join!(RabbitMq::shared_or_own(), Redis::shared_or_own(), Postgres::shared_or_own())?;
    let with_password = |url: &str, place: &str| -> Result<String> {
        let mut url = url::Url::parse(url)?;
        let is_set = url.set_username("user").and_then(|()| url.set_password(Some(&canary(place))));
        ensure!(is_set.is_ok(), "{url} takes a password");
        Ok(url.to_string())
    };
    // One that is there and refuses, and one that is not there.
    let rabbitmq = [with_password(rabbitmq.url(), "rabbit")?, with_password("amqp://127.0.0.1:1/%2f", "rabbit")?];
    let redis = with_password(redis.url(), "redis")?;
    let postgres =
        [with_password(postgres.url(), "postgres")?, with_password("postgres://127.0.0.1:1/app", "postgres")?];
    let backend = format!(
        "[backend]\nkind = \"distributed\"\nrabbitmq = {rabbitmq:?}\nredis = {redis:?}\npostgres = {postgres:?}\nnamespace = \"canaries\"\n"
    );
    for publisher in ["lapin", "direct"] {
        let more = format!(
            "{backend}[ingest]\npublisher = {publisher:?}\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n"
        );
        let planted = Planted::plant("http://127.0.0.1:1", &more)?;
        let folder = planted.folder.path();
        let at = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let ingest = Recorded::start("tidegate-ingest", folder, &at, &planted.variables).await?;
        let worker = Recorded::start("tidegate-worker", folder, &at[2..], &planted.variables).await?;
        let (door, admin) = (format!("http://{}", ingest.listen), format!("http://{}", ingest.admin));
        let mut said = tidegate(&["check", "--config", &planted.path()], &planted.variables).await?;
        let arguments = ["send", "hmac", "--url", &door, "--config", &planted.path()];
        said += &eventually("an event is refused", SOON, || async {
            let answer = tidegate(&arguments, &planted.variables).await.map_err(|error| error.to_string())?;
            if answer.contains("503 unavailable") { Ok(answer) } else { Err(answer) }
        })
        .await?;
        said += &eventually("both servers are told to be down", SOON, || async {
            let health = get(&format!("{admin}/health"), None).await.map_err(|error| error.to_string())?;
            if health.matches("\"state\":\"down\"").count() >= 2 { Ok(health) } else { Err(health) }
        })
        .await?;
        for url in [
            format!("{admin}/metrics"),
            format!("http://{}/health", worker.admin),
            format!("http://{}/v1/events", worker.admin),
        ] {
            said += &get(&url, Some(&canary("admin"))).await?;
        }
        said += &ingest.said().await?;
        said += &worker.said().await?;
        ensure!(said.contains("event refused"), "the log is there");
        nothing_is_shown_in(&said)?;
    }
    Ok(())
}
