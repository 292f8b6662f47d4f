//! No change of a signed request verifies, unless it leaves what is signed and its signature as they are: of every preset,
//! and of any scheme that can be spelled out.

use proptest::prelude::*;
use proptest::sample::select;
use tidegate_hostile::target;

/// The beginnings of inputs that name a signed request.
fn signed(name: &'static str) -> impl Strategy<Value = Vec<u8>> {
    select((target(name).expect("a target of this name").seeds)())
}

/// Some changes: each a kind, a part, and what the kind reads.
fn changes() -> impl Strategy<Value = Vec<u8>> {
    let small = prop_oneof![0_u8..16, any::<u8>()];
    let change = (any::<u8>(), 0_u8..24, Just(0_u8), proptest::collection::vec(small, 0..8));
    let bytes = change.prop_map(|(kind, part, high, more)| [vec![kind, part, high], more].concat());
    proptest::collection::vec(bytes, 1..4).prop_map(|changes| changes.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_a_signed_request_verifies(begin in signed("forge"), changes in changes()) {
        (target("forge").expect("a target of this name").run)(&[begin, changes].concat());
    }

    #[test]
    fn no_change_verifies_by_a_scheme_that_is_spelled_out(begin in signed("spelled"), changes in changes()) {
        (target("spelled").expect("a target of this name").run)(&[begin, changes].concat());
    }
}
