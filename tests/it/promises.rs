//! Documents name the test that proves each promise; this makes sure that there is one.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn tests_in(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).expect("a folder of the repository").flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            text += &tests_in(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &std::fs::read_to_string(&path).expect("a source");
        }
    }
    text
}

/// In README, ARCHITECTURE and the pages of docs a test is named as `` `test: name` ``.
#[test]
fn every_test_that_a_document_names_exists() {
    let tests: String = ["tests", "shared", "ingest", "worker", "model", "chaos", "bench", "cost"]
        .map(|name| tests_in(&root().join(name)))
        .concat();
    let mut named = 0;
    let pages = ["apis", "reliability", "performance", "providers"].map(|page| format!("docs/{page}.md"));
    for document in ["README.md".to_owned(), "ARCHITECTURE.md".to_owned()].iter().chain(&pages) {
        let text = std::fs::read_to_string(root().join(document)).expect("a document");
        for rest in text.split("`test: ").skip(1) {
            let name = rest.split('`').next().unwrap_or_default();
            assert!(tests.contains(&format!("fn {name}(")), "{document} names the test {name}, which does not exist");
            named += 1;
        }
    }
    assert!(named >= 10, "the documents name {named} tests");
}
