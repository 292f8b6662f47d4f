//! Real payloads of providers, part of the program.

use anyhow::{Context as _, bail};
use serde_json::value::RawValue;

/// Provider, name and content of every file in `fixtures/`.
const SAMPLES: &[(&str, &str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/samples.rs"));

/// The sample that is sent if none is named.
pub(crate) fn usual(provider: &str) -> Option<&'static str> {
    match provider {
        "github" => Some("push"),
        "stripe" => Some("payment_intent.succeeded"),
        _ => Some("order.created"),
    }
}

/// The payload called `name` of a provider. GitHub's events have several examples each: `name` is the first one and
/// `name#3` the third.
pub(crate) fn sample(provider: &str, name: &str) -> anyhow::Result<Vec<u8>> {
    let folder = if matches!(provider, "github" | "stripe") { provider } else { "demo" };
    let (file, number) = name.split_once('#').unwrap_or((name, "1"));
    let found = SAMPLES.iter().find(|(of, have, _)| *of == folder && *have == file);
    let Some((_, _, content)) = found else {
        let names: Vec<_> = SAMPLES.iter().filter(|(of, ..)| *of == folder).map(|(_, name, _)| *name).collect();
        bail!("there is no sample {file:?} for {provider}; there are: {}", names.join(", "));
    };
    if folder != "github" {
        return Ok(content.to_vec());
    }
    let examples: Vec<&RawValue> = serde_json::from_slice(content).context("the fixture is a list")?;
    let number: usize = number.parse().context("after # comes a number")?;
    let example = number.checked_sub(1).and_then(|at| examples.get(at));
    let example = example.with_context(|| format!("{file} has {} examples", examples.len()))?;
    Ok(example.get().as_bytes().to_vec())
}
