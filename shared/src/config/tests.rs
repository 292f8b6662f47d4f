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
    check(&format!("{SOURCE}[retention]\ninbox = \"3d\""), "every source's dedup_window");
    check(&format!("{SOURCE}tolerance = \"5m\"\n"), "signs no timestamp");
    check(&SOURCE.replace("provider = \"github\"", "provider = \"hmac\""), "[source.signature]");
    check(&format!("{SOURCE}url = \"https://a.example/b\"\n"), "does not sign the URL");
    check(&format!("{SOURCE}setting = \"x\"\n"), "signs no value of its own");
    check(&format!("{SOURCE}split = true\n"), "a request of this provider is one event");
    let token = "split = true\n[source.signature]\nkind = \"jwt\"\nat = [\"body\"]\nid = [\"body-sha256\"]\n\
                 [source.signature.batch]\nitems = \"/a\"\n";
    let token = format!("{}{token}", SOURCE.replace("provider = \"github\"", "provider = \"hmac\""));
    assert!(parse(&token.replace("split = true\n", "")).is_ok());
    check(&token, "a request of this provider is one event");
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

const SPELLED: &str = "[[source]]\nname = \"s\"\nprovider = \"hmac\"\nsecrets = [\"env:SECRET\"]\n";

#[test]
fn a_scheme_is_spelled_out_for_every_kind() {
    let check = |fields: &str, kind: &str| {
        let config = parse(&format!("{SPELLED}[source.signature]\nid = [\"body-sha256\"]\n{fields}"));
        let scheme = config.expect(fields).sources.values().next().expect("a source").scheme.clone();
        assert_eq!(scheme.kind.as_str(), kind, "{fields}");
    };
    check("signed = \"{body}\"\nheader = \"X-Sig\"", "hmac");
    check("signed = \"{body}\"\nat = \"query:sig\"\nhash = \"sha1\"\nkey = \"sha1-of\"", "hmac");
    check("kind = \"plain-hash\"\nsigned = \"{secret}{body}\"\nheader = \"X-Sig\"", "plain-hash");
    check("kind = \"token\"\nat = \"header:Authorization\"\nformat = \"prefix:Bearer \"", "token");
    check("kind = \"jwt\"\nheader = \"X-Sig\"\nbody_claim = \"sha256\"", "jwt");
    check("kind = \"basic\"\nat = \"header:Authorization\"", "basic");
    check("signed = \"{timestamp}\"\nformat = \"kv:t,v1\"\nheader = \"X-Sig\"\nunsafe_unsigned_body = true", "hmac");
    let key = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    let public = SPELLED.replace("env:SECRET", key);
    let signature = "kind = \"ed25519\"\nkey = \"hex\"\nsigned = \"{body}\"\nheader = \"X-Sig\"\nid = \"body-sha256\"";
    assert!(parse(&format!("{public}[source.signature]\n{signature}")).expect("a public key").warnings.is_empty());
}

#[test]
fn a_set_of_keys_stands_in_for_secrets() {
    let (secrets, none) = ("secrets = [\"env:SECRET\"]\n", "");
    let jwks = "jwks = \"https://auth.example.com/.well-known/jwks.json\"\n";
    let source = |secrets: &str, fields: &str| {
        let source = SPELLED.replace("secrets = [\"env:SECRET\"]\n", secrets);
        let more = "header = \"X-Sig\"\nbody_claim = \"sha256\"\nid = \"json:/id\"\n";
        format!("{source}[source.signature]\n{more}{fields}")
    };
    for kind in ["jwt-rsa", "jwt-es256"] {
        let config = parse(&source(none, &format!("kind = \"{kind}\"\n{jwks}"))).expect(kind);
        let found = config.sources.values().next().expect("a source");
        assert!(found.scheme.fetches_keys() && found.secrets.is_empty() && config.warnings.is_empty(), "{kind}");
    }
    let check = |secrets: &str, fields: &str, needle: &str| {
        let found = mistakes(&source(secrets, fields)).join("\n");
        assert!(found.contains(needle), "{needle:?} in {found}");
    };
    let rsa = "kind = \"jwt-rsa\"\n";
    check(secrets, &format!("{rsa}{jwks}"), "source.s.secrets: this provider's keys are got from itself");
    check(none, &format!("{rsa}key = \"pem\"\n"), "source.s.secrets: missing");
    for url in ["http://a.example/keys", "https://user:word@a.example/keys", "a.example/keys", "https://"] {
        check(none, &format!("{rsa}jwks = \"{url}\"\n"), "source.s.signature.jwks: expected an https:// URL");
    }
    check(none, &format!("kind = \"jwt\"\n{jwks}"), "source.s.signature.jwks: jwks is an https URL, and for the kinds");
}

#[test]
fn an_application_of_microsofts_is_its_id() {
    let graph = |setting: &str| {
        format!(
            "{}setting = \"{setting}\"\n",
            SOURCE.replace("provider = \"github\"", "provider = \"microsoft-graph\"")
        )
    };
    let config = parse(&graph("8e460676-ae3f-4b1e-8790-ee0fb5d6148f")).expect("an id");
    assert!(config.sources.values().next().expect("a source").scheme.fetches_keys());
    let found = mistakes(&graph("my application")).join("\n");
    assert!(found.contains("setting: the setting is the application's (client) id"), "{found}");
}

#[test]
fn each_mistake_about_a_scheme_has_its_message() {
    let check = |fields: &str, needle: &str| {
        let found = mistakes(&format!("{SPELLED}[source.signature]\nid = [\"body-sha256\"]\n{fields}")).join("\n");
        assert!(found.contains(needle), "{needle:?} in {found}");
    };
    check("header = \"X-Sig\"", "source.s.signature.signed: missing; expected what is signed");
    check("signed = \"{body}\"", "a signature header must be named");
    check("signed = \"{body}\"\nheader = \"X-Sig\"\nat = \"header:X-Sig\"", "it says what header says too");
    check(
        "signed = \"{timestamp}\"\nheader = \"X-Sig\"\nformat = \"kv:t,v1\"",
        "neither the template nor a claim signs the body",
    );
    check("signed = \"{id}{body}\"\nheader = \"X-Sig\"", "expected what is signed");
    check("kind = \"token\"\nsigned = \"{body}\"\nheader = \"X-Sig\"", "has its own way and no signed text");
    check("kind = \"ed25519\"\nsigned = \"{body}\"\nheader = \"X-Sig\"", "utf8, whsec and sha1-of write secrets");
    check("kind = \"ed25519\"\nkey = \"base64\"\nsigned = \"{body}\"\nheader = \"X-Sig\"", "secrets[0]");
    check("signed = \"{url}{body}\"\nheader = \"X-Sig\"", "source.s.url: the provider signs the URL that it calls");
    check("signed = \"{setting}.{body}\"\nheader = \"X-Sig\"", "source.s.setting: the provider signs a value");
    check("signd = \"{body}\"\nheader = \"X-Sig\"", "did you mean \"signed\"?");
    check("kind = \"twilio\"\nheader = \"X-Sig\"", "is a provider of its own");
    check("kind = \"jwt\"\nheader = \"X-Sig\"", "neither the template nor a claim signs the body");
    check("kind = \"hmak\"\nsigned = \"{body}\"\nheader = \"X-Sig\"", "expected \"hmac\", \"plain-hash\"");
}

#[test]
fn admission_is_read_with_what_suits_most() {
    let config = parse(SOURCE).expect("the text is right");
    let door = &config.ingest.admission;
    assert_eq!((door.connections_per_address_max.get(), door.headers_max), (1_024, 100));
    assert_eq!((door.head_bytes_max, door.body_rate_min), (64 << 10, 1 << 10));
    assert!(door.address_rate.is_none());
    let source = &config.sources.values().next().expect("a source").admission;
    assert!(source.allow_from.is_none() && source.rate.is_none());
    assert_eq!(source.content_encoding, ContentEncoding::Refuse);
    let burst = |more: &str| {
        let config = parse(&format!("{SOURCE}rate_limit = \"100/s\"\n{more}")).expect("the text is right");
        config.sources.values().next().and_then(|source| source.admission.rate).expect("a rate").1.get()
    };
    assert_eq!((burst(""), burst("burst = 7\n")), (100, 7));
    assert_eq!(
        parse("[ingest]\nconnections_max = 2").expect("right").ingest.admission.connections_per_address_max.get(),
        2
    );
}

#[test]
fn each_mistake_about_admission_has_its_message() {
    let check = |text: &str, needle: &str| {
        let found = mistakes(text).join("\n");
        assert!(found.contains(needle), "{needle:?} in {found}");
    };
    let source = |more: &str| format!("{SOURCE}{more}\n");
    check(&source("allow_from = [\"192.0.2.1/24\", \"a\"]"), "allow_from[0]: expected an address or a network");
    check(&source("allow_from = [\"192.0.2.1/24\", \"a\"]"), "the network is 192.0.2.0/24");
    check(&source("allow_from = [\"192.0.2.1/24\", \"a\"]"), "allow_from[1]: expected an address or a network");
    check(&source("allow_from = []"), "nobody could send");
    check(&source("rate_limit = \"100\""), "a rate such as");
    check(&source("burst = 5"), "belongs to rate_limit");
    check(&source("content_encoding = \"gzip\""), "\"refuse\" or \"accept\"");
    check("[ingest]\ntrusted_proxies = [\"10.0.0.0/8\", \"0.0.0.0/0\"]", "everybody could then say to be anybody");
    check("[ingest]\ntrusted_proxies = \"10.0.0.0/33\"", "it is neither");
    check("[ingest]\nproxy_header = \"x-real-ip\"", "\"x-forwarded-for\" or \"forwarded\"");
    check("[ingest]\nheaders_max = 5000", "at most 1000");
    check("[ingest]\nhead_bytes_max = \"2MiB\"", "1KiB to 1MiB");
    check("[ingest]\naddress_rate_limit = \"0/s\"", "a rate such as");
}

#[test]
fn an_unsigned_body_is_warned_about() {
    let signature = "signed = \"{timestamp}\"\nformat = \"kv:t,v1\"\nheader = \"X-Sig\"\nunsafe_unsigned_body = true";
    let config =
        parse(&format!("{SPELLED}[source.signature]\nid = \"body-sha256\"\n{signature}")).expect("it is right");
    assert!(config.warnings.iter().any(|warning| warning.contains("another body")), "{:?}", config.warnings);
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

const DATED: &str =
    "{ value = \"env:SECRET\", not_before = 2026-12-01T00:00:00Z, not_after = \"2027-01-01T00:00:00Z\" }";

fn with_secrets(secrets: &str) -> String {
    SOURCE.replace("[\"env:SECRET\"]", secrets)
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// As text and with dates, mixed, from everywhere; dates as text or as TOML writes them.
#[test]
fn secrets_come_from_everywhere_and_have_dates() {
    let text = with_secrets(&format!("[\"env:SECRET\", \"file:/b\", {DATED}, \"a literal of enough length\"]"));
    let files =
        |path: &Path| if path == Path::new("/b") { Ok("a secret of a file".to_owned()) } else { origin::no_file(path) };
    let env = |_: &str| Some("a secret of the environment".to_owned());
    let config = Config::parse_noting_keys("test.toml", &text, &env, &files).0.expect("it is right");
    let source = config.sources.values().next().expect("a source");
    let live = |now: &str| source.live_secrets(at(now)).map(Secret::expose).collect::<Vec<_>>();
    let always = ["a secret of the environment", "a secret of a file", "a literal of enough length"];
    assert_eq!(live("2026-11-30T23:59:59Z"), always);
    assert_eq!(live("2026-12-01T00:00:00Z").len(), 4);
    assert_eq!(live("2027-01-01T00:00:01Z"), always);
    assert!(!source.lacks_secret(Timestamp::MIN));
    let literal = |place: usize| format!("source.github.secrets[{place}]: it stands in the configuration itself");
    let warned = |place| config.warnings.iter().any(|warning| warning.starts_with(&literal(place)));
    assert_eq!([0, 1, 2, 3].map(warned), [false, false, false, true], "{:?}", config.warnings);
}

#[test]
fn one_line_feed_is_taken_off_a_file_where_that_is_asked_for() {
    let read = |content: &str, trim: &str| {
        let text = with_secrets(&format!("{{ value = \"file:/b\"{trim} }}"));
        let files = |_: &Path| Ok(content.to_owned());
        let config =
            Config::parse_noting_keys("test.toml", &text, &|_| None, &files).0.map_err(|error| error.to_string())?;
        let source = config.sources.into_values().next().expect("a source");
        Ok::<_, String>(source.secrets[0].secret.expose().to_owned())
    };
    let (plain, trim) = ("a secret of a file", ", trim = true");
    for (content, trim) in
        [(plain, ""), (plain, trim), ("a secret of a file\n", trim), ("a secret of a file\r\n", trim)]
    {
        assert_eq!(read(content, trim).as_deref(), Ok(plain));
    }
    let refused = |content: &str, trim: &str, needle: &str| {
        let error = read(content, trim).expect_err(content);
        assert!(error.contains(needle) && !error.contains("a secret of"), "{error}");
    };
    refused("a secret of a file\n", "", "trim = true");
    refused("a secret of a file\n", ", trim = false", "trim = true");
    refused("a secret of a file\n\n", trim, "white space");
    refused(" a secret of a file\n", trim, "white space");
    refused("\n", trim, "at least 16 bytes");
    refused("", trim, "is empty");
}

#[test]
fn each_mistake_about_secrets_has_its_message() {
    let check = |secrets: &str, needle: &str| {
        let found = mistakes(&with_secrets(secrets)).join("\n");
        assert!(found.contains(needle), "{needle:?} in {found}");
    };
    check("[]", "source.github.secrets: empty");
    check("[{ trim = true }]", "source.github.secrets[0].value: missing");
    check("[{ value = \"env:SECRET\", not_bfore = 2026-12-01T00:00:00Z }]", "did you mean \"not_before\"?");
    check(
        "[{ value = \"env:SECRET\", not_before = \"2026-12-01\" }]",
        "secrets[0].not_before: expected a time with its zone",
    );
    check("[{ value = \"env:SECRET\", not_before = 2026-12-01 }]", "expected a time with its zone");
    check(&format!("[{}]", DATED.replace("2026-12", "2028-12")), "secrets[0].not_after: it is before not_before");
    check("[\"env:SECRET\", \"file:/nothing\"]", "secrets[1]: cannot read the file /nothing");
    check("[[\"env:SECRET\"]]", "secrets[0]: expected a secret");
    check(&format!("[{}]", [DATED; 5].join(", ")), "at most 4 secrets");
    check(&format!("[{}]", DATED.replace("env:SECRET", "fifteen bytes !")), "at least 16 bytes");
    check("[{ value = \"env:SECRET\", trim = 1 }]", "secrets[0].trim: expected true or false");
    // A provider that keeps its keys itself needs none, and an empty list says so.
    for secrets in ["secrets = []\n", ""] {
        let paypal = format!("[[source]]\nname = \"p\"\nprovider = \"paypal\"\nsetting = \"WH-1\"\n{secrets}");
        assert!(parse(&paypal).is_ok_and(|config| config.sources.values().all(|source| source.secrets.is_empty())));
    }
    // Elsewhere a secret has no dates.
    let dated = "[admin]\ntoken = { value = \"env:SECRET\", not_after = 2026-12-01T00:00:00Z }\n";
    assert!(mistakes(dated).join("\n").contains("admin.token.not_after: unknown key"));
    assert!(parse("[admin]\ntoken = { value = \"env:SECRET\", trim = true }\n").is_ok());
    // What is no secret begins with `file:` if it likes.
    assert!(parse("[ingest]\nspool = \"file:/nothing\"\n").is_ok());
}

#[test]
fn dates_that_somebody_should_know_about_are_told() {
    let check = |secrets: &str, now: &str, expected: &[&str]| {
        let config = parse(&with_secrets(secrets)).expect("it is right");
        let warnings = config.dated_warnings(at(now));
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        let tells = |(warning, needle): (&String, &&str)| {
            warning.starts_with("source.github.secrets") && warning.contains(needle)
        };
        assert!(warnings.iter().zip(expected).all(tells), "{expected:?} in {warnings:?}");
    };
    let alone = format!("[{DATED}]");
    check(&alone, "2026-11-30T00:00:00Z", &["none of them counts before 2026-12-01T00:00:00Z"]);
    check(&alone, "2026-12-02T00:00:00Z", &[]);
    check(&alone, "2026-12-28T00:00:00Z", &["the last that counts ends at 2027-01-01T00:00:00.000000001Z"]);
    check(&alone, "2027-01-02T00:00:00Z", &["all of them have expired"]);
    let beside = format!("[\"env:SECRET\", {DATED}]");
    check(&beside, "2026-12-28T00:00:00Z", &[]);
    check(&beside, "2027-01-02T00:00:00Z", &["[1]: expired at 2027-01-01T00:00:00Z"]);
    let later = "{ value = \"env:SECRET\", not_before = 2027-02-01T00:00:00Z }";
    let config = parse(&with_secrets(&format!("[{DATED}, {later}]"))).expect("it is right");
    let gap = "source.github.secrets: none of them counts from 2027-01-01T00:00:00.000000001Z to 2027-02-01T00:00:00Z";
    assert!(config.warnings.contains(&gap.to_owned()), "{:?}", config.warnings);
    let meets = later.replace("2027-02", "2027-01");
    assert!(parse(&with_secrets(&format!("[{DATED}, {meets}]"))).expect("it is right").warnings.is_empty());
}

#[test]
fn replays_are_looked_for_where_the_id_is_open() {
    let replay = |text: &str| parse(text).map(|config| config.sources.into_values().next().expect("a source").replay);
    let stripe = SOURCE.replace("provider = \"github\"", "provider = \"stripe\"");
    assert_eq!(replay(SOURCE), Ok(OnReplay::Count));
    assert_eq!(replay(&format!("{SOURCE}replay = \"reject\"\n")), Ok(OnReplay::Reject));
    assert_eq!(replay(&format!("{SOURCE}replay = \"off\"\n")), Ok(OnReplay::Off));
    assert_eq!(replay(&stripe), Ok(OnReplay::Off));
    assert_eq!(replay(&format!("{stripe}replay = \"off\"\n")), Ok(OnReplay::Off));
    for (text, needle) in [
        (format!("{stripe}replay = \"reject\"\n"), "source.github.replay: nothing to look for"),
        (format!("{SOURCE}replay = \"refuse\"\n"), "\"count\", \"reject\" or \"off\""),
    ] {
        let found = mistakes(&text).join("\n");
        assert!(found.contains(needle), "{needle:?} in {found}");
    }
}

#[test]
fn no_message_shows_the_password_of_a_url() {
    for url in ["ftp://user:canary@a.example/b", "http:/user:canary@", "user:can@ary:canary@a.example"] {
        for text in [
            format!("[ingest]\npublic_url = {url:?}\n"),
            format!("[api.crm]\nbase_url = {url:?}\n"),
            format!("[[handler]]\nname = \"h\"\non = [\"**\"]\nrun = \"forward\"\nurl = {url:?}\n"),
        ] {
            let found = mistakes(&text).join("\n");
            assert!(found.contains("expected an http:// or https:// URL") && !found.contains("canary"), "{found}");
        }
    }
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
            let sections = [
                "ingest.",
                "claims.",
                "worker.",
                "admin.",
                "retention.",
                "http.",
                "backend.",
                "source.",
                "handler.",
                "api.",
                "oauth.",
            ];
            sections.iter().any(|section| key.starts_with(section))
        })
        .collect();
    let env = |_: &str| Some("a secret of the environment".to_owned());
    let known = Config::parse_noting_keys("full.toml", FULL, &env, &origin::no_file).1;
    let is_table = |key: &String| known.iter().any(|other| other.starts_with(&format!("{key}.")));
    let known: BTreeSet<String> = known.iter().filter(|key| key.contains('.') && !is_table(key)).cloned().collect();
    assert_eq!(listed, known);
}

fn api(settings: &str) -> Result<ApiConfig, String> {
    let text =
        format!("[oauth]\nkeys = \"{}\"\n[api.crm]\nbase_url = \"https://crm.example\"\n{settings}", "0f".repeat(32));
    match parse(&text) {
        Ok(config) => Ok(config.apis[&ApiName::try_new("crm").expect("a name")].clone()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn an_api_is_read_with_what_suits_most() {
    let config = api("").expect("a URL is enough");
    assert!(matches!(config.auth, ApiAuth::None) && config.cache.ttl.is_none() && config.preset.is_none());
    assert_eq!((config.retry.attempts.get(), config.limit.rate), (3, None));
    let config =
        api("key = \"env:SECRET\"\ncache = \"10m\"\ncache_paths = { \"/a/*/c\" = \"1h\" }\nrate_limit = \"60/min\"");
    let config = config.expect("it is right");
    assert!(matches!(config.auth, ApiAuth::Bearer(_)));
    assert_eq!(config.cache.ttl_of("/a/b/c"), Some(Duration::from_secs(3_600)));
    assert_eq!(config.cache.ttl_of("/a/b/d"), Some(Duration::from_secs(600)));
    assert_eq!(config.limit.rate.map(|rate| (rate.count.get(), rate.per)), Some((60, Duration::from_secs(60))));
}

/// A preset is named, or is the name of the API itself; its key has a place of its own.
#[test]
fn a_preset_fills_in_the_rest() {
    let config =
        parse("[api.openweathermap]\nkey = \"env:SECRET\"\n[api.github]\n[api.rates]\npreset = \"open-er-api\"\n");
    let apis = config.expect("it is right").apis;
    let api = |name: &str| &apis[&ApiName::try_new(name).expect("a name")];
    assert!(matches!(&api("openweathermap").auth, ApiAuth::Query(name, _) if name == "appid"));
    assert!(matches!(api("github").auth, ApiAuth::None));
    assert_eq!(api("rates").base_url.as_str(), "https://open.er-api.com/");
    assert!(apis.values().all(|api| api.cache.ttl.is_some()));
}

#[test]
fn each_mistake_about_an_api_has_its_message() {
    let check = |settings: &str, needle: &str| {
        let found = api(settings).expect_err(settings);
        assert!(found.contains(needle), "{needle:?} in {found}");
    };
    check("auth = \"header:X-Key\"", "api.crm.key: missing");
    check("auth = \"header:bad name\"\nkey = \"env:SECRET\"", "expected \"none\", \"bearer\"");
    check("auth = \"bear\"\nkey = \"env:SECRET\"", "found \"bear\"");
    check("auth = \"none\"\nkey = \"env:SECRET\"", "uses no key");
    check("auth = \"oauth2\"", "belong together");
    check("preset = \"githb\"", "did you mean \"github\"?");
    check("rate_limit = \"60\"", "60/min");
    check("cache_paths = { \"a\" = \"1h\" }", "expected a path");
    check("retry = { base = \"1m\" }", "must not be shorter than base");
    check("retry = { total = \"1s\" }", "must not be shorter than the timeout");
    check("retry = { budget = 2 }", "over 0, up to 1");
    check("breaker = { failur_rate = 0.5 }", "did you mean \"failure_rate\"?");
    let oauth = "[api.crm.oauth]\ntoken_url = \"https://l.example/t\"\nclient_id = \"me\"\n";
    check(oauth, "client_secret: missing");
    check(&format!("{oauth}grant = \"password\""), "authorization_code");
    check(&format!("{oauth}grant = \"authorization_code\""), "needs authorize_url and redirect_url");
    check(
        &format!(
            "{oauth}grant = \"authorization_code\"\nauthorize_url = \"https://l.example/a\"\nredirect_url = \"https://me.example/cb\""
        ),
        "its path must be /oauth/crm/callback",
    );
}

#[test]
fn what_is_needed_elsewhere_is_asked_for() {
    let check = |text: &str, needle: &str| {
        let found = mistakes(text).join("\n");
        assert!(found.contains(needle), "{needle:?} in {found}");
    };
    let handler = |more: &str| format!("{SOURCE}[[handler]]\nname = \"h\"\non = [\"github:push\"]\n{more}\n");
    check(&handler("run = \"orders\""), "[api.crm], [api.stock], [api.payment], [api.notify], [api.analytics]");
    check(&handler("run = \"payments\"\ncurrency = \"EUR\""), "add [api.open-er-api]");
    check(&handler("run = \"archive\"\ncurrency = \"EUR\""), "only payments");
    check("[http]\nlisten = \"0.0.0.0:3002\"", "http.callers: missing");
    check("[http]\ncallers = { shop = \"short\" }", "shorter than 16 bytes");
    check("[oauth]\nkeys = \"0f0f\"", "32 random bytes");
    let granted = "[api.crm]\nbase_url = \"https://c.example\"\n[api.crm.oauth]\ngrant = \"authorization_code\"\n\
                   token_url = \"https://l.example/t\"\nauthorize_url = \"https://l.example/a\"\nclient_id = \"me\"\n\
                   redirect_url = \"https://me.example/oauth/crm/callback\"";
    check(granted, "oauth.keys: missing");
    check(granted, "a user logs in at the worker's API: add [http]");
    check(&format!("[http]\n{granted}"), "a login begins at https://me.example too, where only callers may");
    let here = granted.replace("https://me.example", "http://localhost:3002");
    check(&format!("[http]\n[oauth]\nkeys = []\n{here}"), "oauth.keys: empty");
    assert!(parse(&format!("[http]\n[oauth]\nkeys = \"{}\"\n{here}", "0f".repeat(32))).is_ok());
}
