//! What the fuzzer found, and what it began with, judged again with every change.

use std::path::{Path, PathBuf};

use tidegate_hostile::{TARGETS, target};

/// Bytes of all corpora together at most: they are committed.
const CORPORA_MAX: u64 = 600 << 10;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the corpora are part of the repository");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a file of the repository").path()).collect();
    files.sort();
    files
}

fn replay(name: &str) {
    let target = target(name).expect("a target of this name");
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{name} begins with something");
    for seed in seeds {
        (target.run)(&seed);
    }
    let found = files(&corpora().join(name));
    assert!(found.len() > 10, "the corpus of {name} is committed");
    for file in found {
        // Shown where one fails.
        eprintln!("{}", file.display());
        (target.run)(&std::fs::read(file).expect("a file of the repository"));
    }
}

#[test]
fn nothing_verifies_but_what_its_provider_signed() {
    replay("scheme");
}

#[test]
fn nothing_that_was_changed_verifies() {
    replay("forge");
}

#[test]
fn no_scheme_that_can_be_spelled_lets_a_change_through() {
    replay("spelled");
}

#[test]
fn every_message_that_decodes_is_written_as_it_was() {
    replay("wire");
}

#[test]
fn no_configuration_stops_the_program_or_shows_a_secret() {
    replay("config");
}

#[test]
fn values_are_picked_as_a_whole_parser_finds_them() {
    replay("json");
}

#[test]
fn every_corpus_has_its_target_and_all_of_them_are_small() {
    let folders = files(&corpora());
    let names: Vec<_> = folders.iter().map(|folder| folder.file_name().unwrap().to_str().unwrap()).collect();
    let mut expected = TARGETS.map(|target| target.name);
    expected.sort_unstable();
    assert_eq!(names, expected);
    let bytes: u64 = folders.iter().flat_map(|folder| files(folder)).map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes <= CORPORA_MAX, "{bytes} bytes");
}
