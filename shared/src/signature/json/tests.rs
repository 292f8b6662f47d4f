//! What is picked out of JSON, and what is not.

use super::*;

fn check(body: &str, pointers: &[&str], expected: &[Option<&str>]) {
    let pointers: Vec<Pointer> = pointers.iter().map(|text| text.parse().unwrap()).collect();
    let picked = pick(body.as_bytes(), &pointers, Strings::Closed);
    let found: Vec<_> = picked.values.iter().map(Option::as_deref).collect();
    assert_eq!(found, expected, "{body}");
}

#[test]
fn picks_strings_and_numbers_as_written() {
    check(r#"{"id":"a"}"#, &["/id"], &[Some("a")]);
    check(r#"{"id":"a\u00e9\"\\"}"#, &["/id"], &[Some("aé\"\\")]);
    check(r#"{"i\u0064":"a"}"#, &["/id"], &[Some("a")]);
    check(r#"{"id":12345678901234567890123}"#, &["/id"], &[Some("12345678901234567890123")]);
    check(r#"{"id":-1.50}"#, &["/id"], &[Some("-1.50")]);
    check(r#" { "id" : "" } "#, &["/id"], &[Some("")]);
}

#[test]
fn picks_nothing_else() {
    for body in [
        r#"{"id":null}"#,
        r#"{"id":true}"#,
        r#"{"id":{}}"#,
        r#"{"id":["a"]}"#,
        r#"{"ID":"a"}"#,
        r#"{"a":{"id":"b"}}"#,
        r#"["id"]"#,
        r#""id""#,
        "1",
        "null",
        "-1.5",
        "true",
        "",
        "id=a",
        r#"{"id":"\ud800"}"#,
    ] {
        check(body, &["/id"], &[None]);
    }
}

#[test]
fn a_body_that_is_not_json_has_no_values() {
    for body in [r#"{"id":"a""#, r#"{"id":"a"}x"#, r#"{"id":"a",}"#, r#"{"id":"a"}{"#, "{\"id\":\"a\tb\"}"] {
        check(body, &["/id"], &[None]);
    }
    assert_eq!(pick(b"{\"id\":\"\xff\"}", &["/id".parse().unwrap()], Strings::Closed).values, [None]);
}

#[test]
fn follows_several_pointers_at_once() {
    let body = r#"{"event":{"type":"t","id":7},"list":[{"id":"x"},{"id":"y"}],"id":"top"}"#;
    check(
        body,
        &["/event", "/event/type", "/event/id", "/list/1/id", "/list/2/id", "/id"],
        &[None, Some("t"), Some("7"), Some("y"), None, Some("top")],
    );
    check(r#"{"a/b":{"c~d":"e"}}"#, &["/a~1b/c~0d"], &[Some("e")]);
}

#[test]
fn the_last_of_a_repeated_key_counts() {
    check(r#"{"id":"a","id":"b"}"#, &["/id"], &[Some("b")]);
    check(r#"{"id":"a","id":null}"#, &["/id"], &[None]);
    check(r#"{"a":{"id":"b"},"a":{"id":"c"}}"#, &["/a/id"], &[Some("c")]);
    for last in ["{}", "1", "null", r#"[{"id":"c"}]"#] {
        check(&format!(r#"{{"a":{{"id":"b"}},"a":{last}}}"#), &["/a/id"], &[None]);
    }
}

#[test]
fn a_repeated_key_on_the_way_is_told() {
    let repeated = |body: &str| pick(body.as_bytes(), &["/a/id".parse().unwrap()], Strings::Closed).is_repeated(0);
    assert!(!repeated(r#"{"a":{"id":1},"b":{"id":2},"id":3}"#));
    assert!(repeated(r#"{"a":{"id":1,"id":2}}"#));
    assert!(repeated(r#"{"a":{"id":1},"a":{}}"#));
    assert!(repeated(r#"{"a":1,"\u0061":{"id":1}}"#));
}

#[test]
fn the_first_key_that_is_no_other_is_found() {
    let others = ["update_id".to_owned()];
    let check = |body: &str, expected: Option<&str>| {
        assert_eq!(first_key(body.as_bytes(), &others).as_deref(), expected, "{body}");
    };
    check(r#"{"update_id":1,"message":{"a":1},"b":2}"#, Some("message"));
    check(r#"{"mess\u0061ge":1}"#, Some("message"));
    check(r#"{"update_id":1}"#, None);
    check("[1]", None);
    check("{", None);
}

#[test]
fn an_only_member_is_a_string_and_has_no_other_beside_it() {
    let check = |body: &str, expected: bool| assert_eq!(has_only(body.as_bytes(), "token"), expected, "{body}");
    check(r#"{"token":"a"}"#, true);
    for other in [r#"{"token":"a","b":"c"}"#, r#"{"b":"c"}"#, r#"{"token":1}"#, "{}", "[]", r#""token""#, "token", ""] {
        check(other, false);
    }
}

#[test]
fn a_value_is_written_where_it_belongs() {
    let check = |body: &str, pointer: &str, expected: Option<&str>| {
        let written = with_value(body.as_bytes(), &pointer.parse().unwrap(), "x");
        assert_eq!(written.map(|bytes| String::from_utf8(bytes).unwrap()).as_deref(), expected, "{body}");
    };
    check(r#"{"a":{"b":1}}"#, "/a/b", Some(r#"{"a":{"b":"x"}}"#));
    check("{}", "/a/b", Some(r#"{"a":{"b":"x"}}"#));
    check(r#"{"a":[1,2]}"#, "/a/1", Some(r#"{"a":[1,"x"]}"#));
    check("[1]", "/a", None);
    check("a", "/a", None);
}

#[test]
fn json_in_strings_is_read_on_where_it_is_opened() {
    let opened = |body: &str, pointers: &[&str]| -> Vec<Option<String>> {
        let pointers: Vec<Pointer> = pointers.iter().map(|text| text.parse().unwrap()).collect();
        let picked = pick(body.as_bytes(), &pointers, Strings::Opened);
        picked.values.into_iter().map(|value| value.map(Cow::into_owned)).collect()
    };
    let some = |text: &str| Some(text.to_owned());
    let body = r#"{"data":"{\"data\":\"{\\\"id\\\":12345678901234567890123}\",\"type\":\"a\"}","id":"b"}"#;
    let pointers = ["/data/data/id", "/data/type", "/id", "/data/none"];
    assert_eq!(opened(body, &pointers), [some("12345678901234567890123"), some("a"), some("b"), None]);
    check(body, &pointers, &[None, None, Some("b"), None]);
    // What is no JSON has no values, and takes none from what is around it.
    for inner in ["", "a", "{", r#"{\"id\":1}x"#, r#"{\"id\":1,}"#, "1", "null", "[]"] {
        let body = format!(r#"{{"data":"{inner}","id":"b"}}"#);
        assert_eq!(opened(&body, &["/data/id", "/id"]), [None, some("b")], "{body}");
    }
    let repeated = |body: &str| pick(body.as_bytes(), &["/data/id".parse().unwrap()], Strings::Opened).is_repeated(0);
    assert!(!repeated(r#"{"data":"{\"id\":1}"}"#));
    assert!(repeated(r#"{"data":"{\"id\":1,\"id\":2}"}"#));
    assert!(repeated(r#"{"data":"{\"id\":1}","data":"{\"id\":1}"}"#));
    assert_eq!(opened(r#"{"data":"{\"id\":1}","data":"{}"}"#, &["/data/id"]), [None]);
}

#[test]
fn nesting_beyond_any_stack_is_skipped() {
    let deep = format!(r#"{{"a":{}{},"id":"x"}}"#, "[".repeat(200_000), "]".repeat(200_000));
    check(&deep, &["/id"], &[Some("x")]);
    check(&deep, &["/a/0/0/0", "/id"], &[None, Some("x")]);
}
