//! Microsoft Graph's: a secret in every item, and tokens beside them.

use super::*;

fn graph(name: &str) -> (Case, FetchedKey) {
    vector("microsoft-graph", include_str!("../../../../../fixtures/vectors/microsoft-graph.json"), name)
}

#[test]
fn a_token_of_microsofts_for_another_application_is_told_from_a_wrong_secret() {
    let right = || graph("resource data: a token of version 2");
    let (case, key) = right();
    // All is right but for the clock of these tests.
    assert!(matches!(case.explain_with(Ok(&key)), Cause::Clock { .. }));
    let (elsewhere, key) = graph("for another application");
    let setting = elsewhere.scheme.setting.clone();
    assert_eq!(elsewhere.explain_with(Ok(&key)), Cause::Key(KeyCause::Unmatched { setting }));
    // The secret is judged first, and nobody is asked for a key if it is wrong.
    let text = String::from_utf8(case.body.clone()).unwrap();
    let forged = text.replace("tidegate-graph-client-state-1", "a secret of somebody else");
    assert_eq!(right().0.body(forged.as_bytes()).explain(), Cause::Unexplained);
    let broken = text.replace("tidegate-graph-client-state-1", "tidegate-graph-client-state-1\\n");
    let cause = right().0.body(broken.as_bytes()).explain();
    assert!(matches!(cause, Cause::SecretText { index: 0, .. }), "{cause:?}");
}
