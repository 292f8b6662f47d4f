//! Lists the sample payloads of `fixtures/`, so that they are part of the program and `tidegate send` needs no folder.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[expect(clippy::disallowed_methods, reason = "a build script is told its folder by the environment")]
fn main() {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).expect("cargo says where the package is");
    let fixtures = here.join("../fixtures");
    let mut list = String::from("&[\n");
    for provider in ["github", "stripe", "demo"] {
        let folder = fixtures.join(provider);
        println!("cargo::rerun-if-changed={}", folder.display());
        for (name, path) in payloads(&folder) {
            writeln!(list, "    ({provider:?}, {name:?}, include_bytes!({path:?})),").expect("a string takes text");
        }
    }
    list.push_str("]\n");
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).expect("cargo gives an output folder");
    std::fs::write(out.join("samples.rs"), list).expect("the output folder can be written");
}

fn payloads(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(folder).expect("fixtures are part of the repository");
    let mut found: Vec<_> = entries
        .map(|entry| entry.expect("fixtures can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), path))
        .collect();
    found.sort();
    found
}
