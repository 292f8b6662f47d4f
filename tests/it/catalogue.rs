//! The table of providers in the documentation, held to the presets.

use std::fmt::Write as _;
use std::path::Path;

use tidegate_shared::provider::{Preset, presets};

const HEAD: &str = "\
# Providers

Every preset, as `tidegate providers` has it: `provider = \"<name>\"` in a `[[source]]`. This table is written by a test
(`TIDEGATE_UPDATE_DOCS=1 cargo xtask test the_table_of_providers`).

\"Proven by\" names the library of the provider's that signed or judged the preset's vectors, with its version, or says that
there is none: then the vectors were computed independently from what the provider publishes. All of them are in
[`fixtures/vectors`](../fixtures/README.md) and judged with every change (`test: every_vector_is_judged_as_published`); for
each the set has a true request, a tampered body, a wrong secret, a truncated and an empty signature, a doubled header and
another provider's signature, and stale and future timestamps where there are any.

A handshake is written as what marks the request, what proves it, and what answers it.

| provider | proof | event id | handshake | proven by, and what to know |
| --- | --- | --- | --- | --- |
";

fn row(preset: &Preset) -> String {
    let scheme = preset.scheme();
    let handshakes: Vec<String> = scheme.handshakes.iter().map(|known| format!("`{known}`")).collect();
    let batch = preset.batch().map(|batch| format!(" {}.", batch.in_words())).unwrap_or_default();
    let note = if preset.note.is_empty() { String::new() } else { format!(" {}", preset.note) };
    let cells = [
        format!("{}<br>`{}`", preset.title, preset.name),
        scheme.proof_in_words(),
        scheme.id_in_words(),
        handshakes.join("<br>"),
        format!("{}.{note}{batch}", preset.proven),
    ];
    let cells = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
    format!("| {} |\n", cells.join(" | "))
}

const LIBRARIES: &str = "
## Libraries that sign for the live door

With every change each of these signs real requests, which go to a running Tidegate, on both backends (Plaid's on the
embedded one). What they sign is accepted; the same with one byte changed, and what they sign with another secret, is refused
(`test: what_the_official_sdks_sign_is_accepted`, `test: what_the_libraries_of_other_vendors_sign_is_accepted`,
`test: keys_of_plaid_are_asked_for_with_the_accounts_secret`).

| library | version | result |
| --- | --- | --- |
";

/// A row for each library in the tests' two lists.
fn libraries() -> Vec<String> {
    let read = |name| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk").join(name);
        std::fs::read_to_string(path).expect("the list of libraries")
    };
    let row = |library: &str, registry: &str, version: &str| {
        format!("| `{library}` ({registry}) | {version} | accepted; tampered and forged ones refused |\n")
    };
    let list: serde_json::Value = serde_json::from_str(&read("package.json")).expect("JSON");
    let npm = list["dependencies"].as_object().expect("a list").iter();
    let npm = npm.map(|(name, version)| row(name, "npm", version.as_str().expect("a version")));
    let list = read("requirements.txt");
    let pypi = list.lines().map(|line| line.split_once("==").expect("a version"));
    npm.chain(pypi.map(|(name, version)| row(name, "PyPI", version))).collect()
}

#[test]
fn the_table_of_providers_is_what_the_presets_say() {
    let mut expected = HEAD.to_owned();
    presets().for_each(|preset| expected.push_str(&row(preset)));
    write!(expected, "\n{} presets.\n{LIBRARIES}", presets().count()).expect("text");
    libraries().iter().for_each(|row| expected.push_str(row));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/providers.md");
    if std::env::var_os("TIDEGATE_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).expect("the file can be written");
    }
    let written = std::fs::read_to_string(&path).expect("docs/providers.md");
    assert!(written == expected, "docs/providers.md is not what the presets say; set TIDEGATE_UPDATE_DOCS=1");
}
