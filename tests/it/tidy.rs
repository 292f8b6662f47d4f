//! House rules that a machine can keep.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    // Without the `..`: every path would hold the name of this folder.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("the tests lie in the repository").to_owned()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository").flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") && !path.ends_with(".git") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn every_source() -> Vec<PathBuf> {
    let mut found = Vec::new();
    sources(&root(), &mut found);
    assert!(found.len() > 50, "the repository has sources");
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file of the repository")
}

#[test]
fn every_file_begins_with_what_it_is() {
    let bare: Vec<_> = every_source()
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name != "tests.rs"))
        .filter(|path| !read(path).starts_with("//! "))
        .collect();
    assert!(bare.is_empty(), "no first line of documentation: {bare:#?}");
}

#[test]
fn no_module_is_named_after_nothing() {
    let vague = ["util", "utils", "helper", "helpers", "common", "misc", "types", "manager", "mod"];
    let named: Vec<_> = every_source()
        .into_iter()
        .filter(|path| path.file_stem().is_some_and(|stem| vague.iter().any(|word| stem == *word)))
        .collect();
    assert!(named.is_empty(), "{named:#?}");
}

#[test]
fn no_file_is_longer_than_one_idea() {
    let long: Vec<_> = every_source()
        .into_iter()
        .filter(|path| !path.components().any(|part| part.as_os_str() == "tests") && !path.ends_with("tests.rs"))
        .map(|path| (read(&path).lines().take_while(|line| *line != "#[cfg(test)]").count(), path))
        .filter(|(lines, _)| *lines > 550)
        .collect();
    assert!(long.is_empty(), "{long:#?}");
    assert!(every_source().iter().any(|path| path.ends_with("shared/src/ledger.rs")), "sources are looked at");
}

#[test]
fn only_adapters_name_their_client_library() {
    let check = |library: &str, homes: &[&str]| {
        let strays: Vec<_> = every_source()
            .into_iter()
            .filter(|path| path.to_string_lossy().contains("/src/"))
            .filter(|path| {
                !["/tests/", "/chaos/", "/bench/"].iter().any(|harness| path.to_string_lossy().contains(harness))
            })
            .filter(|path| !homes.iter().any(|home| path.to_string_lossy().contains(home)))
            .filter(|path| read(path).lines().any(|line| line.starts_with(&format!("use {library}::"))))
            .collect();
        assert!(strays.is_empty(), "{library} is named outside of {homes:?}: {strays:#?}");
    };
    check("lapin", &["shared/src/queue/rabbitmq"]);
    check("redis", &["shared/src/redis", "shared/src/claims/redis", "shared/src/cache/redis"]);
    check("tokio_postgres", &["shared/src/ledger/postgres"]);
    check("deadpool_postgres", &["shared/src/ledger/postgres"]);
}

#[test]
fn the_halves_do_not_know_each_other() {
    for (half, other) in [("ingest", "tidegate-worker"), ("worker", "tidegate-ingest"), ("shared", "axum")] {
        let manifest = read(&root().join(half).join("Cargo.toml"));
        assert!(!manifest.contains(other), "{half} must not depend on {other}");
    }
}
