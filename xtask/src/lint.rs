//! `cargo xtask lint`: what a machine can say about the text of the code.

use std::process::Command;

use anyhow::Result;
use tidegate_tests::install::ensure_promtool;

use crate::{cargo, root, run};

/// Private items are documented for whoever works on them, so links may lead to them.
const RUSTDOC_FLAGS: &str = "-D warnings -A rustdoc::private-intra-doc-links";

pub(crate) fn lint() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run(cargo()
        .args(["doc", "--workspace", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", RUSTDOC_FLAGS))?;
    if installed("deny") {
        run(cargo().args(["deny", "check"]))?;
    } else {
        println!("cargo-deny is not installed: licences and advisories are not checked (cargo install cargo-deny)");
    }
    check_alerts()
}

/// The alert rules, and the proof that they fire.
fn check_alerts() -> Result<()> {
    if !ensure_promtool()? {
        println!("promtool is not installed: the alert rules are not checked (it is part of Prometheus)");
        return Ok(());
    }
    let promtool =
        |arguments: [&str; 3]| run(Command::new("promtool").args(arguments).current_dir(root().join("deploy")));
    promtool(["check", "rules", "alerts.yml"])?;
    promtool(["test", "rules", "alerts.test.yml"])
}

/// Says whether cargo has this subcommand.
pub(crate) fn installed(subcommand: &str) -> bool {
    let asked: &mut Command = &mut cargo();
    asked.args([subcommand, "--version"]).output().is_ok_and(|output| output.status.success())
}
