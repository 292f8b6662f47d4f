//! Messages of a queue: what must hold is in `tidegate_hostile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let target = tidegate_hostile::target("wire").expect("a target of this name");
    (target.run)(input);
});
