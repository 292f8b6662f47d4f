//! The table of providers in the documentation, held to the presets.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use tidegate_shared::provider::{Preset, presets};
use tidegate_tests::sdk;

use crate::conformance::signers;

const HEAD: &str = "\
# Providers

Every preset, as `tidegate providers` has it: `provider = \"<name>\"` in a `[[source]]`. This table is written by a test
(`TIDEGATE_UPDATE_DOCS=1 cargo xtask test the_table_of_providers`).

\"Proven by\" names the library of the provider's that signed or judged the preset's vectors, with its version, or says that
there is none: then the vectors were computed independently from what the provider publishes. All of them are in
[`fixtures/vectors`](../fixtures/README.md) and judged with every change (`test: every_vector_is_judged_as_published`). A
true request of each preset is refused once its signature is doubled, empty, cut or any other preset's, once a byte that is
signed is another one, and once it is old or from the future where its time is signed
(`test: no_preset_takes_a_signature_that_is_there_twice` and those beside it, which name the exceptions).

A proof ends with how many seconds its time may be off, where it has one. A handshake is written as what marks the request,
what proves it, and what answers it.

| provider | proof | event id | handshake | proven by, and what to know |
| --- | --- | --- | --- | --- |
";

fn row(preset: &Preset) -> String {
    let scheme = preset.scheme();
    let handshakes: Vec<String> = scheme.handshakes.iter().map(|known| format!("`{known}`")).collect();
    let batch = preset.batch().map(|batch| format!(" {}.", batch.in_words())).unwrap_or_default();
    let note = if preset.note.is_empty() { String::new() } else { format!(" {}", preset.note) };
    let tolerance = scheme.timestamp.as_ref().map(|rule| format!("; {} s", rule.tolerance.as_secs()));
    let cells = [
        format!("{}<br>`{}`", preset.title, preset.name),
        format!("{}{}", scheme.proof_in_words(), tolerance.unwrap_or_default()),
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

| library | version | signs for; accepted, and refused when tampered with or forged |
| --- | --- | --- |
";

/// A library in one of the tests' two lists.
struct Library {
    name: String,
    registry: &'static str,
    version: String,
}

impl Library {
    /// The presets that were sent what it signs.
    fn presets(&self) -> BTreeSet<&'static str> {
        signers().filter(|signer| signer.library == self.name).map(|signer| signer.preset).collect()
    }

    fn row(&self) -> String {
        let presets: Vec<String> = self.presets().into_iter().map(|preset| format!("`{preset}`")).collect();
        format!("| `{}` ({}) | {} | {} |\n", self.name, self.registry, self.version, presets.join(", "))
    }
}

fn libraries() -> Vec<Library> {
    let read = |name| std::fs::read_to_string(sdk::folder().join(name)).expect("the list of libraries");
    let library =
        |registry, name: &str, version: &str| Library { name: name.to_owned(), registry, version: version.to_owned() };
    let list: serde_json::Value = serde_json::from_str(&read("package.json")).expect("JSON");
    let npm = list["dependencies"].as_object().expect("a list").iter();
    let npm = npm.map(|(name, version)| library("npm", name, version.as_str().expect("a version")));
    let list = read("requirements.txt");
    let pypi = list.lines().map(|line| line.split_once("==").expect("a version"));
    npm.chain(pypi.map(|(name, version)| library("PyPI", name, version))).collect()
}

/// A library that no test runs would stand in the table for nothing, and one that is in neither list has no version.
#[test]
fn every_library_in_the_lists_signs_for_a_live_door() {
    let listed: BTreeSet<String> = libraries().into_iter().map(|library| library.name).collect();
    let signing: BTreeSet<String> = signers().map(|signer| signer.library.to_owned()).collect();
    assert_eq!(listed, signing, "package.json and requirements.txt, and those that sign");
    for signer in signers() {
        assert!(presets().any(|preset| preset.name == signer.preset), "{} signs for no preset", signer.name);
    }
}

#[test]
fn the_table_of_providers_is_what_the_presets_say() {
    let mut expected = HEAD.to_owned();
    presets().for_each(|preset| expected.push_str(&row(preset)));
    write!(expected, "\n{} presets.\n{LIBRARIES}", presets().count()).expect("text");
    libraries().iter().for_each(|library| expected.push_str(&library.row()));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/providers.md");
    if std::env::var_os("TIDEGATE_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).expect("the file can be written");
    }
    let written = std::fs::read_to_string(&path).expect("docs/providers.md");
    assert!(written == expected, "docs/providers.md is not what the presets say; set TIDEGATE_UPDATE_DOCS=1");
}
