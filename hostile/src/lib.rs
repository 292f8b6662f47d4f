//! What must hold for any input, however hostile, as functions that fail loudly where it does not.
//!
//! Each [`Target`] takes any bytes. The fuzzer in `fuzz/` feeds them to find new ones; the tests of this crate replay what
//! it found, and what the providers' vectors say, with every change. Nothing here is written twice, and nothing here is
//! taken from the code under test but its answers: what a signature covers is read by [`reading`], a second reading.

mod base;
mod config;
mod edit;
mod forge;
mod input;
mod json;
mod reading;
mod request;
mod scheme;
mod spelled;
mod tree;
mod wire;

/// One kind of input.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// What it is called; its corpus lies in `fuzz/corpus` under this name.
    pub name: &'static str,
    /// Judges one input. Panics if what must hold does not.
    pub run: fn(&[u8]),
    /// Inputs to begin with, from the fixtures.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: [Target; 6] = [
    // A request to the source of any preset: nothing verifies but what the provider signed.
    Target { name: "scheme", run: scheme::run, seeds: scheme::seeds },
    // Requests that a provider signed, changed: they verify only if what is signed is as it was.
    Target { name: "forge", run: forge::run, seeds: forge::seeds },
    // Schemes that are spelled out, as the configuration does: read, written, and forged.
    Target { name: "spelled", run: spelled::run, seeds: spelled::seeds },
    // Messages of a queue: what decodes is written and read again as it was.
    Target { name: "wire", run: wire::run, seeds: wire::seeds },
    // The configuration: no text stops the program, and no secret shows.
    Target { name: "config", run: config::run, seeds: config::seeds },
    // Picking values out of a body: as a parser that builds all of it.
    Target { name: "json", run: json::run, seeds: json::seeds },
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
