use super::*;

const FULL: &str = include_str!("full.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse("test.toml", text, &|name| (name == "SECRET").then(|| "a secret of the environment".to_owned()))
}

fn mistakes(text: &str) -> Vec<String> {
    parse(text).expect_err("the text has mistakes").mistakes.iter().map(ToString::to_string).collect()
}

const SOURCE: &str = "[[source]]\nname = \"github\"\nprovider = \"github\"\nsecrets = [\"env:SECRET\"]\n";

#[test]
fn the_built_in_configuration_is_right() {
    let config = Config::development();
    assert_eq!(config.sources.keys().map(SourceName::as_str).collect::<Vec<_>>(), ["demo", "github", "stripe"]);
    assert!(config.ingest.listen.ip().is_loopback() && config.admin.listen.ip().is_loopback());
}

#[test]
fn a_file_with_every_key_is_read() {
    let config = parse(FULL).expect("the file is right");
    assert_eq!(config.ingest.body_limit, 1 << 20);
    assert_eq!(config.claims.on_unavailable, OnUnavailable::Reject);
    assert_eq!(config.handlers[0].retry, [Duration::from_secs(1), Duration::from_secs(120)]);
    assert!(
        matches!(&config.backend, Backend::Distributed(servers) if format!("{:?}", servers.rabbitmq).matches("example").count() == 2)
    );
}

/// Five mistakes of five kinds, all named at once, with their lines.
#[test]
fn every_mistake_is_named_at_once() {
    let text = "[ingest]\nlistn = \"127.0.0.1:1\"\nbody_limit = \"huge\"\n\n[[source]]\nname = \"Shop\"\n\
                provider = \"gihub\"\nsecrets = [\"env:NOT_THERE\"]\n\n[[handler]]\nname = \"h\"\non = [\"push\"]\nrun = \"forward\"\n";
    let found = mistakes(text);
    let expect = |line: usize, key: &str, hint: &str| {
        let start = format!("line {line}: {key}");
        assert!(
            found.iter().any(|one| one.starts_with(&start) && one.contains(hint)),
            "{start} … {hint} in {found:#?}"
        );
    };
    expect(2, "ingest.listn", "did you mean \"listen\"?");
    expect(3, "ingest.body_limit", "1MiB");
    expect(6, "source[0].name", "a-z");
    expect(12, "handler.h.on[0]", "source:event.type");
    expect(10, "handler.h.url", "missing");
}

#[test]
fn each_mistake_has_its_message() {
    let check = |text: &str, needle: &str| {
        let found = mistakes(text).join("\n");
        assert!(found.contains(needle), "{needle:?} in {found}");
    };
    check(&SOURCE.replace("github\"\nsecrets", "gihub\"\nsecrets"), "did you mean \"github\"?");
    check(&SOURCE.replace("env:SECRET", "env:MISSING"), "the environment variable MISSING is not set");
    check(&SOURCE.replace("env:SECRET", "short"), "secrets");
    check(&format!("{SOURCE}{SOURCE}"), "another source has this name");
    check(&format!("{SOURCE}tolerance = \"5m\"\n"), "signs no timestamp");
    check(&SOURCE.replace("provider = \"github\"", "provider = \"hmac\""), "[source.signature]");
    check("[admin]\nlisten = \"0.0.0.0:3001\"\n", "can be reached from other machines");
    check("[backend]\nkind = \"distributed\"\n", "backend.postgres: missing");
    check("[backend]\nkind = \"magnetic\"\n", "\"embedded\" or \"distributed\"");
    check("[claims]\nlease = \"1s\"\n", "must be longer than ingest.publish_timeout");
    check("[[handler]]\nname = \"a\"\non = [\"**\"]\nrun = \"archiv\"\n", "did you mean \"archive\"?");
    check("[[handler]]\nname = \"a\"\non = [\"**\"]\nrun = \"mine\"\n", "worker.own_handlers");
    check("[[handler]]\nname = \"a\"\non = [\"githb:push\"]\nrun = \"archive\"\n", "there is no source \"githb\"");
    check("[[handler]]\nname = \"a\"\non = [\"**\"]\nrun = \"archive\"\ntimeout = \"1h\"\n", "worker.shutdown_grace");
    check("[ingest]\nlisten = 3000\n", "an address with a port");
    check("ingest = 1\n", "expected a table [ingest]");
    check("[ingest\n", "syntax");
}

#[test]
fn no_secret_is_ever_shown() {
    let canary = "canary-of-a-secret";
    let text = format!(
        "{}\n[backend]\nkind = \"distributed\"\npostgres = \"{canary}\"\nredis=1\n",
        SOURCE.replace("env:SECRET", &format!(" {canary}"))
    );
    let shown = format!("{:#?}", parse(&text));
    assert!(!shown.contains(canary), "{shown}");
    let shown = format!("{:?}", parse(SOURCE).expect("the text is right"));
    assert!(!shown.contains("a secret of the environment"), "{shown}");
}

/// README's table of settings names every key that the program reads, and no other.
#[test]
fn readme_lists_every_setting() {
    let readme = include_str!("../../../README.md");
    let listed: BTreeSet<String> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(key, _)| key.to_owned())
        .filter(|key| {
            ["ingest.", "claims.", "worker.", "admin.", "http.", "backend.", "source.", "handler."]
                .iter()
                .any(|section| key.starts_with(section))
        })
        .collect();
    let known = Config::parse_noting_keys("full.toml", FULL, &|_| Some("a secret of the environment".to_owned())).1;
    let known: BTreeSet<String> =
        known.into_iter().filter(|key| key.contains('.')).filter(|key| key != "source.signature").collect();
    assert_eq!(listed, known);
}
