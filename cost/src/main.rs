//! Runs one subject so many times, for whoever counts instructions: `tidegate-cost NAME COUNT`; without a name it lists
//! them.
#![expect(clippy::print_stdout, reason = "a command line program answers on standard output")]

use anyhow::{Context as _, Result};
use tidegate_cost::subjects;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        subjects().iter().for_each(|subject| println!("{}", subject.name));
        return Ok(());
    };
    let count: u32 = arguments.next().context("how many times?")?.parse()?;
    let subject = subjects().into_iter().find(|subject| subject.name == name);
    let mut subject = subject.with_context(|| format!("there is no subject {name:?}"))?;
    for _ in 0..count {
        (subject.run)();
    }
    Ok(())
}
