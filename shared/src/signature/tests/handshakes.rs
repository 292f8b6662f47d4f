//! Handshakes: what is one, what answers it, and what must never be taken for one.

use http::{Method, StatusCode};

use super::*;

/// A question of X's, by GET.
fn ask(verifier: &Verifier, target: &str, now: i64) -> Option<Reply> {
    let headers = HeaderMap::new();
    let received = Received { method: &Method::GET, target, headers: &headers, body: b"" };
    verifier.open_handshake(&received, at(now)).unwrap()
}

#[test]
fn every_handshake_of_a_preset_reads_what_it_wrote() {
    let mut count = 0;
    for known in crate::provider::presets().flat_map(|preset| preset.scheme().handshakes) {
        count += 1;
        assert_eq!(known.answer.to_string().parse(), Ok(known.answer.clone()), "{known}");
        assert_eq!(known.proof.to_string().parse(), Ok(known.proof.clone()), "{known}");
        for mark in known.marks {
            assert_eq!(mark.to_string().parse(), Ok(mark.clone()));
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn words_that_say_nothing_are_refused() {
    for text in ["", "201", "text", "json a", "json a=", "keep", "keep nowhere", "origin x", "mac(query:a)"] {
        assert!(text.parse::<Answer>().is_err(), "{text}");
    }
    for text in ["", "signed", "word", "word nowhere", "none x"] {
        assert!(text.parse::<HandshakeProof>().is_err(), "{text}");
    }
    for text in ["", "no", "no nowhere", "only ", "empty query:a", "nowhere = x"] {
        assert!(text.parse::<Mark>().is_err(), "{text}");
    }
}

#[test]
fn a_handshake_that_every_event_is_and_a_token_that_would_be_told_are_refused() {
    let mut scheme = scheme("github");
    let unmarked = HandshakeText { method: "POST", when: &[], proof: "none", answer: "200" };
    scheme.handshakes = vec![unmarked.read().unwrap()];
    assert_eq!(scheme.check(), Err(SchemeError::UnmarkedHandshake));
    // What a token's "signature" of a text would be is the token's own hash.
    let mut scheme = super::scheme("telegram");
    let telling = HandshakeText { method: "GET", when: &["query:a"], proof: "none", answer: "text mac(query:a)" };
    scheme.handshakes = vec![telling.read().unwrap()];
    assert_eq!(scheme.check(), Err(SchemeError::SignedAnswer));
}

/// Whoever asks has a text of theirs signed: it must not be what an event's signature is over.
#[test]
fn nothing_is_signed_for_anyone_that_an_event_could_sign() {
    let checked = |signed: &'static str, proof: &'static str, place: &'static str| {
        let text = SchemeText {
            signed,
            at: &["header:x-sig"],
            timestamp_at: timestamp(signed),
            id: &["header:x-id"],
            ..SchemeText::HMAC
        };
        let mut scheme = text.read().unwrap();
        let known = HandshakeText {
            method: "POST",
            when: vec![place].leak(),
            proof,
            answer: format!("text mac({place})").leak(),
        };
        scheme.handshakes = vec![known.read().unwrap()];
        scheme.check()
    };
    for (proof, place) in
        [("none", "query:c"), ("word query:w", "query:c"), ("signature", "query:c"), ("signature", "json:/c")]
    {
        assert_eq!(checked("{body}", proof, place), Ok(()), "{proof} {place}");
    }
    for signed in ["{body_sha256}", "{timestamp}{body}", "{timestamp}.{body}", "{id}-{body}", "v0:{body}"] {
        // What the signature of the question covers, its provider has chosen; anything else anybody can.
        assert_eq!(checked(signed, "signature", "json:/c"), Ok(()), "{signed}");
        for (proof, place) in [("none", "json:/c"), ("word query:w", "json:/c"), ("signature", "query:c")] {
            assert_eq!(checked(signed, proof, place), Err(SchemeError::SignedAnswer), "{signed} {proof} {place}");
        }
    }
}

fn timestamp(signed: &str) -> &'static [&'static str] {
    if signed.contains("{timestamp}") { &["header:x-time"] } else { &[] }
}

#[test]
fn a_large_body_is_not_read_for_a_question_that_is_not_proven() {
    let slack = verifier("slack", &[SECRET]);
    let form = headers(&[("content-type", "application/x-www-form-urlencoded")]);
    let asked = |length: usize| {
        let body = format!("ssl_check=1&x={}", "a".repeat(length));
        slack.open_handshake(&Received::post(&form, body.as_bytes()), at(THEN)).unwrap().is_some()
    };
    assert!(asked(1_000));
    assert!(asked(60_000));
    assert!(!asked(100_000));
}

#[test]
fn an_answer_is_signed_and_a_question_proven_by_a_secret_that_counts() {
    let over = DatedSecret {
        secret: secret("the secret that is over"),
        validity: Validity { not_after: Some(at(THEN)), ..Validity::ALWAYS },
    };
    let lasting = DatedSecret::from(secret("the secret that lasts on"));
    let signed_by = |text: &str, now| {
        let alone = verifier("x", &[text]);
        let both = Verifier::try_new_dated(scheme("x"), &[over.clone(), lasting.clone()]).unwrap();
        let answer = |verifier: &Verifier| ask(verifier, "/?crc_token=abc", now).unwrap().body;
        assert_eq!(answer(&both), answer(&alone), "{text} at {now}");
    };
    signed_by("the secret that is over", THEN);
    signed_by("the secret that lasts on", THEN + 1);

    let none = Verifier::try_new_dated(scheme("x"), std::slice::from_ref(&over)).unwrap();
    let nothing = HeaderMap::new();
    let asked = Received { method: &Method::GET, target: "/?crc_token=abc", headers: &nothing, body: b"" };
    assert_eq!(none.open_handshake(&asked, at(THEN + 1)).unwrap_err(), VerifyError::InvalidSignature);

    let okta = Verifier::try_new_dated(scheme("okta"), &[over, lasting]).unwrap();
    let headers = headers(&[("X-Okta-Verification-Challenge", "c"), ("Authorization", "the secret that is over")]);
    let received = Received { method: &Method::GET, target: "/", headers: &headers, body: b"" };
    assert_eq!(okta.open_handshake(&received, at(THEN)).unwrap().unwrap().status, StatusCode::OK);
    assert_eq!(okta.open_handshake(&received, at(THEN + 1)).unwrap_err(), VerifyError::InvalidSignature);
}

#[test]
fn a_signed_question_in_json_is_answered_with_what_it_holds() {
    let body = br#"{"token":"t","challenge":"3eZbrw1aB","type":"url_verification"}"#;
    let mut headers = scheme("slack").sign(&secret(SECRET), &message(body)).unwrap().headers;
    headers.insert("content-type", "application/json".parse().unwrap());
    let judged = verifier("slack", &[SECRET]).judge(&Received::post(&headers, body), at(THEN), None).unwrap();
    let Judgement::Handshake(reply) = judged else { panic!("{judged:?}") };
    let answer = String::from_utf8_lossy(&reply.body);
    assert!(reply.status == StatusCode::OK && answer.contains("3eZbrw1aB"), "{reply:?}");
}

/// What people write into an event must not make it a question: it would be answered, and dropped.
#[test]
fn no_content_of_an_event_makes_it_a_handshake() {
    let slack = verifier("slack", &[SECRET]);
    for text in ["a&ssl_check=1&b", "{\\\"type\\\":\\\"url_verification\\\"}"] {
        let body =
            format!(r#"{{"type":"event_callback","event_id":"Ev1","event":{{"type":"message","text":"{text}"}}}}"#);
        let mut headers = scheme("slack").sign(&secret(SECRET), &message(body.as_bytes())).unwrap().headers;
        headers.insert("content-type", "application/json".parse().unwrap());
        let received = Received::post(&headers, body.as_bytes());
        assert!(slack.open_handshake(&received, at(THEN)).unwrap().is_none(), "{body}");
        assert!(matches!(slack.judge(&received, at(THEN), None), Ok(Judgement::Event(_))), "{body}");
    }
    let notion = verifier("notion", &[SECRET]);
    let body = br#"{"verification_token":"a token of the length of one"}"#;
    let signed = scheme("notion").sign(&secret(SECRET), &message(body)).unwrap().headers;
    let received = Received::post(&signed, body);
    assert!(notion.open_handshake(&received, at(THEN)).unwrap().is_none(), "what is signed offers nothing");
}

#[test]
fn only_handshakes_that_offer_a_secret_keep_one() {
    let keeping = |preset: &str| scheme(preset).handshakes.iter().filter(|known| known.keeps()).count();
    assert_eq!(["asana", "notion", "slack", "meta", "aws-sns"].map(keeping), [1, 1, 0, 0, 0]);
}

#[test]
fn an_offered_secret_keeps_its_bounds() {
    let asana = verifier("asana", &[SECRET]);
    let offer = |text: &str| {
        let headers = headers(&[("X-Hook-Secret", text)]);
        let reply = asana.open_handshake(&Received::post(&headers, b"{}"), at(THEN));
        reply.map(|reply| matches!(reply.unwrap().deed, Deed::Keep(secret) if secret.expose() == text))
    };
    assert_eq!(offer("1234567890123456"), Ok(true));
    assert_eq!(offer(&"x".repeat(512)), Ok(true));
    for bad in ["123456789012345", &"x".repeat(513), "one with a space in it"] {
        let malformed = VerifyError::MalformedRequest { what: "the handshake is not well formed" };
        assert_eq!(offer(bad), Err(malformed), "{bad}");
    }
}

/// AWS names the URL in a message that it has signed; another host is not called, whoever signed.
#[test]
fn only_urls_of_sns_confirm() {
    let answers = |url: &str| {
        let known = &scheme("aws-sns").handshakes[0];
        assert!(matches!(known.answer, Answer::Confirm(_)));
        let body = format!(r#"{{"Type":"SubscriptionConfirmation","SubscribeURL":"{url}"}}"#);
        let own = Scheme { setting: Some("arn".into()), ..scheme("aws-sns") };
        let verifier = Verifier::try_new(own, &[]).unwrap();
        let headers = HeaderMap::new();
        let received = Received::post(&headers, body.as_bytes());
        let reply = verifier.proven_handshake(&mut verifier.reader(&received), 0);
        reply.map(|reply| matches!(reply.unwrap().deed, Deed::Confirm(found) if found.as_str() == url))
    };
    assert_eq!(answers("https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=a"), Ok(true));
    for other in ["https://sns.eu-west-1.amazonaws.com.evil.example/", "http://sns.eu-west-1.amazonaws.com/", "x"] {
        assert!(answers(other).is_err(), "{other}");
    }
}

#[test]
fn a_batch_is_split_where_it_says_and_keeps_each_item_as_it_was() {
    let batch = BatchText { items: "/events", id: &["json:/id", "json:/a + json:/b"], event_type: &["json:/type"] };
    let split = |body: &str| {
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        let headers = HeaderMap::new();
        let items = batch.read().unwrap().split(&Received::post(&headers, &body), &body);
        let told = |item: Item| {
            (item.identity.id.to_string(), item.identity.event_type.to_string(), String::from_utf8(item.body.to_vec()))
        };
        items.map(|items| items.map(|items| items.into_iter().map(told).collect::<Vec<_>>()))
    };
    let told = |id: &str, event_type: &str, body: &str| (id.to_owned(), event_type.to_owned(), Ok(body.to_owned()));
    let items = split(r#"{"events":[ {"id":1, "type":"t"},{"a":"x","b":"y"} , "z"],"id":"whole"}"#).unwrap().unwrap();
    let hash = crate::event::BodyHash::of(b"\"z\"").to_string();
    assert_eq!(
        items,
        [
            told("1", "t", r#"{"id":1, "type":"t"}"#),
            told("x|y", "unknown", r#"{"a":"x","b":"y"}"#),
            told(&hash, "unknown", "\"z\"")
        ]
    );
    for none in [r#"{"events":[],"deleted":{}}"#, r#"{"events":{}}"#, "{}", "[]", "", "no JSON"] {
        assert_eq!(split(none).unwrap(), None, "{none}");
    }
    let full = format!(r#"{{"events":[{}]}}"#, vec!["1"; ITEMS_MAX].join(","));
    assert_eq!(split(&full).unwrap().map(|items| items.len()), Some(ITEMS_MAX));
    let more = format!(r#"{{"events":[{}]}}"#, vec!["1"; ITEMS_MAX + 1].join(","));
    assert!(split(&more).is_err());
    assert!(split(&format!(r#"{{"events":[{{"id":"{}"}}]}}"#, "x".repeat(257))).is_err());
}

#[test]
fn an_answer_says_what_it_is_and_no_browser_takes_it_for_more() {
    let told = |reply: &Reply, name: &str| reply.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let reply = ask(&verifier("x", &[SECRET]), "/?crc_token=abc", THEN).expect("a handshake");
    assert_eq!(told(&reply, "content-type").as_deref(), Some("application/json"));
    assert!(reply.body.starts_with(br#"{"response_token":"sha256="#), "{reply:?}");
    let graph = verifier("microsoft-graph", &[SECRET]);
    let nothing = HeaderMap::new();
    let received = Received { target: "/?validationToken=a%20b", ..Received::post(&nothing, b"") };
    let reply = graph.open_handshake(&received, at(THEN)).unwrap().expect("a handshake");
    assert_eq!(told(&reply, "content-type").as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(told(&reply, "x-content-type-options").as_deref(), Some("nosniff"));
    assert_eq!((reply.status, &reply.body[..]), (StatusCode::OK, &b"a b"[..]));
}

#[test]
fn a_handshake_has_its_own_method_and_a_signed_one_is_proven_first() {
    let nothing = HeaderMap::new();
    let post = Received { target: "/?crc_token=abc", ..Received::post(&nothing, b"{}") };
    assert!(verifier("x", &[SECRET]).open_handshake(&post, at(THEN)).unwrap().is_none());

    let body = br#"{"token":"t","challenge":"3eZbrw1aB","type":"url_verification"}"#;
    let signed = scheme("slack").sign(&secret(SECRET), &message(body)).unwrap().headers;
    let slack = verifier("slack", &[SECRET]);
    assert!(slack.open_handshake(&Received::post(&signed, body), at(THEN)).unwrap().is_none());

    // By POST, Okta's mark is any header.
    let marked = headers(&[("X-Okta-Verification-Challenge", "c"), ("Authorization", SECRET)]);
    let event = Received::post(&marked, br#"{"eventId":"e"}"#);
    let judged = verifier("okta", &[SECRET]).judge(&event, at(THEN), None).unwrap();
    assert!(matches!(judged, Judgement::Event(_)), "{judged:?}");
}

/// By WooCommerce's `deliver_ping`: not signed, and content with 200 alone. What is signed is an event.
#[test]
fn the_ping_of_woocommerce_is_no_event() {
    let woocommerce = verifier("woocommerce", &[SECRET]);
    let form = headers(&[("content-type", "application/x-www-form-urlencoded")]);
    let open = |headers: &HeaderMap, body: &[u8]| {
        woocommerce.open_handshake(&Received::post(headers, body), at(THEN)).unwrap().map(|reply| reply.status)
    };
    assert_eq!(open(&form, b"webhook_id=7"), Some(StatusCode::OK));
    assert_eq!(open(&form, b"id=7"), None);
    let mut signed = form;
    signed.insert("x-wc-webhook-signature", "AAAA".parse().unwrap());
    assert_eq!(open(&signed, b"webhook_id=7"), None);
}

#[test]
fn only_the_word_that_was_agreed_on_opens_metas_handshake() {
    let ask = |verifier: &Verifier, target: &str| {
        let nothing = HeaderMap::new();
        let received = Received { method: &Method::GET, target, ..Received::post(&nothing, b"") };
        verifier.open_handshake(&received, at(THEN)).map(|reply| reply.expect("a handshake").body)
    };
    let bare = || verifier("meta", &[SECRET]);
    let meta = bare().with_verify_token(&secret("a word of ours"));
    let target = "/?hub.mode=subscribe&hub.challenge=42&hub.verify_token=";
    assert_eq!(ask(&meta, &format!("{target}a%20word%20of%20ours")).unwrap(), "42");
    for (verifier, word) in [(&meta, "a%20word"), (&meta, ""), (&bare(), "a%20word%20of%20ours"), (&bare(), "")] {
        assert_eq!(ask(verifier, &format!("{target}{word}")), Err(VerifyError::InvalidSignature), "{word}");
    }
    assert_eq!(ask(&meta, "/?hub.mode=subscribe&hub.challenge=42"), Err(VerifyError::InvalidSignature));
}

#[test]
fn only_what_has_every_mark_is_a_handshake() {
    let judged = |preset: &str, body: &[u8]| {
        verifier(preset, &[SECRET]).judge(&Received::post(&signed(preset, body), body), at(THEN), None).unwrap()
    };
    assert!(matches!(judged("xero", br#"{"events":[]}"#), Judgement::Handshake(_)));
    for event in [&br#"{"events":[{}]}"#[..], b"{}", br#"{"events":0}"#] {
        assert!(matches!(judged("xero", event), Judgement::Event(_)), "{event:?}");
    }
    let long = format!(r#"{{"events":[],"x":"{}"}}"#, "a".repeat(70_000));
    assert!(matches!(judged("xero", long.as_bytes()), Judgement::Event(_)), "too long to be looked through");

    let notion = verifier("notion", &[SECRET]);
    let opened = |body: &[u8]| notion.open_handshake(&Received::post(&HeaderMap::new(), body), at(THEN)).unwrap();
    assert!(opened(br#"{"verification_token":"secret_0123456789abcdef"}"#).is_some());
    assert!(opened(br#"{"verification_token":"secret_0123456789abcdef","id":"1"}"#).is_none());
    assert!(opened(b"{}").is_none());
}

#[test]
fn answers_in_headers_say_what_was_asked() {
    let asked = headers(&[("WebHook-Request-Origin", "events.example.com")]);
    let received = Received { method: &Method::OPTIONS, ..Received::post(&asked, b"") };
    let reply = verifier("cloudevents", &[SECRET]).open_handshake(&received, at(THEN)).unwrap().expect("a handshake");
    for (name, expected) in
        [("webhook-allowed-origin", "events.example.com"), ("webhook-allowed-rate", "*"), ("allow", "POST")]
    {
        assert_eq!(reply.headers.get(name).map(|value| value.to_str().unwrap()), Some(expected), "{name}");
    }
    let offered = headers(&[("X-Hook-Secret", "0123456789abcdef")]);
    let asana = verifier("asana", &[SECRET]);
    let reply = asana.open_handshake(&Received::post(&offered, b""), at(THEN)).unwrap().expect("a handshake");
    let back = &reply.headers["x-hook-secret"];
    assert_eq!((back.to_str().unwrap(), back.is_sensitive()), ("0123456789abcdef", true));
}

#[test]
fn what_is_sent_back_is_a_line_of_bounded_length() {
    let echoed = |token: &str| {
        let target = format!("/?validationToken={token}");
        let nothing = HeaderMap::new();
        let received = Received { target: &target, ..Received::post(&nothing, b"") };
        verifier("microsoft-graph", &[SECRET]).open_handshake(&received, at(THEN)).map(|reply| reply.is_some())
    };
    assert_eq!(echoed(&"a".repeat(4_096)), Ok(true));
    for token in ["", "a%0ab", "%00", &"a".repeat(4_097)] {
        assert!(matches!(echoed(token), Err(VerifyError::MalformedRequest { .. })), "{token}");
    }
}
