//! The configuration: no text stops the program, and no secret shows.

use tidegate_shared::config::Config;
use toml::de::{DeTable, DeValue};

/// What stands for a secret, in the text or in the environment.
const CANARY: &str = "canary-of-a-secret-0123456789";
/// How a text takes it from the environment.
const FROM_ENVIRONMENT: &str = "env:CANARY";
/// Keys whose values are secret.
const SECRET_KEYS: [&str; 7] = ["secrets", "token", "verify_token", "secret", "key", "client_secret", "keys"];
/// Keys of URLs whose passwords are secret.
const URL_KEYS: [&str; 3] = ["rabbitmq", "redis", "postgres"];

/// The text of a file.
pub(crate) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let parsed = Config::parse("fuzzed.toml", &text, &|name| (name == "CANARY").then(|| CANARY.to_owned()));
    let shown = match &parsed {
        Ok(config) => format!("{config:?} {config:#?} {:?}", config.warnings),
        Err(error) => format!("{error} {error:?}"),
    };
    if hides_all(&text) {
        assert!(!shown.contains(CANARY), "a secret is shown: {shown}");
    }
}

/// Whether the canary stands only where a secret does: what is no secret may be shown.
fn hides_all(text: &str) -> bool {
    let (table, _) = DeTable::parse_recoverable(text);
    let mut hidden = 0;
    for (key, value) in table.get_ref() {
        hidden += secrets_in(&[key.get_ref()], value.get_ref());
    }
    hidden > 0 && hidden == text.matches(CANARY).count() + text.matches(FROM_ENVIRONMENT).count()
}

/// How many canaries stand in the place of a secret under `path`.
fn secrets_in(path: &[&str], value: &DeValue<'_>) -> usize {
    match value {
        DeValue::String(text) => usize::from(is_secret(path, text)),
        DeValue::Array(values) => values.iter().map(|value| secrets_in(path, value.get_ref())).sum(),
        DeValue::Table(table) => {
            let below = |key: &str, value: &DeValue<'_>| secrets_in(&[path, &[key]].concat(), value);
            table.iter().map(|(key, value)| below(key.get_ref(), value.get_ref())).sum()
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => 0,
    }
}

/// Whether `text` is a canary, all of it, in the place of a secret.
fn is_secret(path: &[&str], text: &str) -> bool {
    let is_canary = text == CANARY || text == FROM_ENVIRONMENT;
    let is_password = text.split_once("://user:").and_then(|(_, rest)| rest.strip_prefix(CANARY));
    let is_password = is_password.is_some_and(|rest| rest.starts_with("@example"));
    match path {
        [.., "http", "callers", _] | [.., "secrets", "value"] => is_canary,
        [.., key] if SECRET_KEYS.contains(key) => is_canary,
        [.., "backend", key] if URL_KEYS.contains(key) => is_canary || is_password,
        _ => false,
    }
}

/// The configurations of the repository, and one with a canary at every place of a secret.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let full = include_str!("../../shared/src/config/full.toml").replace("env:SECRET", FROM_ENVIRONMENT);
    let with_password = full.replace("postgres://example", &format!("postgres://user:{CANARY}@example"));
    let given = include_str!("../../tidegate.toml").to_owned();
    let built_in = include_str!("../../shared/src/config/development.toml").to_owned();
    let wrong = full.replace("kind = \"distributed\"", "kind = 1").replace("listen", "listn");
    [full, with_password, given, built_in, wrong].map(String::into_bytes).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_plant_canaries_that_are_looked_for() {
        let seeds = seeds();
        let planted = |seed: &&Vec<u8>| hides_all(std::str::from_utf8(seed).unwrap());
        assert_eq!(seeds.iter().filter(planted).count(), 3);
    }

    #[test]
    fn a_canary_elsewhere_is_not_looked_for() {
        assert!(!hides_all(&format!("[ingest]\nlisten = \"{CANARY}\"\n")));
        assert!(!hides_all(&format!("# {CANARY}\n[admin]\ntoken = \"{CANARY}\"\n")));
        assert!(hides_all(&format!("[admin]\ntoken = \"{CANARY}\"\n")));
        assert!(hides_all(&format!("[http]\ncallers = {{ shop = \"{CANARY}\" }}\n")));
    }
}
