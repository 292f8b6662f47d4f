//! Requests that a provider signed, changed: what must hold is in `tidegate_hostile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let target = tidegate_hostile::target("forge").expect("a target of this name");
    (target.run)(input);
});
