//! What of a body its signature covers, where that is a reading of it and not its bytes.
//!
//! Whoever has seen one request of such a scheme can write its body in another way, and the signature stays right: fields
//! in another order, other white space, a member that nobody signs. Such a body is known by what is signed, so that it is
//! no other event.

use std::borrow::Cow;

use super::document::{JsonIn, is_form};
use super::native;
use super::received::Reader;
use super::signed_text::{php_form, sorted_form};
use super::{Kind, Piece, Received, Scheme, VerifyError};
use crate::event::BodyHash;

impl Scheme {
    /// The SHA-256 of what the signature covers of the body of `received`, which has been verified; `None` where that is
    /// the bytes as they are, or nothing of them. An item of a list that was split is a body too.
    #[must_use]
    pub fn content_hash(&self, received: &Received<'_>) -> Option<BodyHash> {
        Some(BodyHash::of(&self.content(received)?.ok()?))
    }

    fn content<'a>(&self, received: &Received<'a>) -> Option<Result<Cow<'a, [u8]>, VerifyError>> {
        let body = received.body;
        match self.kind {
            Kind::Braintree => native::braintree::content(&mut Reader::new(received, &[], JsonIn::Body)).transpose(),
            Kind::Adyen => native::adyen::content(body).map(|text| Ok(Cow::Owned(text))),
            Kind::AwsSns => {
                let pointers = self.pointers();
                let mut reader = Reader::new(received, &pointers, JsonIn::Body);
                Some(native::aws_sns::signed_text(&mut reader).map(Cow::Owned))
            }
            Kind::Twilio => is_form(received.headers).then(|| sorted_form(body).map(owned)),
            Kind::Hmac | Kind::PlainHash | Kind::Ed25519 | Kind::EcdsaP256 | Kind::Rsa | Kind::PayPal => {
                if self.template.has(&Piece::FormSorted) {
                    Some(sorted_form(body).map(owned))
                } else {
                    self.template.has(&Piece::FormPhp).then(|| php_form(body, &self.signature).map(owned))
                }
            }
            Kind::Token
            | Kind::Basic
            | Kind::MicrosoftGraph
            | Kind::Jwt
            | Kind::JwtRsa
            | Kind::JwtEs256
            | Kind::Plaid => None,
        }
    }
}

fn owned(text: String) -> Cow<'static, [u8]> {
    Cow::Owned(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::*;
    use crate::provider::preset;

    fn hash(name: &str, content_type: &'static str, body: &str) -> Option<BodyHash> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        let scheme = preset(name).expect("a preset").scheme();
        scheme.content_hash(&Received::post(&headers, body.as_bytes()))
    }

    fn check(name: &str, content_type: &'static str, bodies: [&str; 2], other: &str) {
        let [first, again] = bodies.map(|body| hash(name, content_type, body));
        assert!(first.is_some() && first == again, "{name}: {bodies:?}");
        assert_ne!(first, hash(name, content_type, other), "{name}: {other}");
    }

    #[test]
    fn what_is_not_signed_makes_no_other_content() {
        const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
        const JSON: &str = "application/json";
        for name in ["twilio", "twilio-shared-key", "mandrill"] {
            check(name, FORM, ["a=b+c&d=e", "d=e&a=b%20c&a=b%20c"], "a=b&d=e");
            // Nothing parts a name from its value in what is signed.
            check(name, FORM, ["a=bc", "ab=c"], "a=b");
        }
        check("paddle-classic", FORM, ["a=b&p_signature=1&c=d", "c=d&a=%62&p_signature=2"], "a=b&c=e");
        check("braintree", FORM, ["bt_payload=YQ%3D%3D%0A&bt_signature=1", "x=1&bt_payload=YQ=="], "bt_payload=YQ=");
        let item =
            |name: &str, more: &str| format!(r#"{{"NotificationRequestItem":{{"pspReference":{name:?}{more}}}}}"#);
        let list = |items: &[String]| format!(r#"{{"live":"true","notificationItems":[{}]}}"#, items.join(","));
        let (one, one_more, two) = (item("1", ""), item("1", r#","eventDate":"x","reason":"y""#), item("2", ""));
        check("adyen", JSON, [&one, &one_more], &two);
        check("adyen", JSON, [&list(&[one.clone(), two.clone()]), &list(&[one_more, two.clone()])], &list(&[two, one]));
        let message = |more: &str, text: &str| {
            format!(
                r#"{{{more}"Type":"Notification","MessageId":"1","TopicArn":"t","Message":{text:?},"Timestamp":"2"}}"#
            )
        };
        for name in ["aws-sns", "aws-sns-v1"] {
            let bodies = [message("", "a"), message("\"UnsubscribeURL\":\"u\", ", "a")];
            check(name, JSON, [&bodies[0], &bodies[1]], &message("", "b"));
        }
    }

    /// Their bodies are known by their bytes.
    #[test]
    fn most_signatures_cover_bytes() {
        for name in ["github", "stripe", "square", "plaid", "wix", "gitlab", "microsoft-graph", "paypal", "mailgun"] {
            assert_eq!(hash(name, "application/json", r#"{"a":1}"#), None, "{name}");
        }
        assert_eq!(hash("twilio", "application/json", "{}"), None, "covered by its hash in the query");
        for (name, body) in [("braintree", "a=b"), ("adyen", "{}"), ("aws-sns", "{}")] {
            assert_eq!(hash(name, "application/json", body), None, "{name} without what is signed");
        }
    }
}
