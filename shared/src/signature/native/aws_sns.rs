//! AWS SNS: the fields of a message, under a certificate that the message names.
//!
//! By <https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>. SNS signs for each of its
//! customers: what tells whose message it is is the topic, which the source configures. Which version of the signature
//! counts is the scheme's hash: version 1 is SHA-1, for which two texts with one hash can be made, and everyone can have
//! SNS sign a text.

use url::Url;

use super::super::prove::Proven;
use super::super::public_key::PublicKey;
use super::super::received::Reader;
use super::super::{Hash, KeyLocation, Location, Verifier, VerifyError};

/// What is signed of a message, in this order, each where it is there.
const NOTIFICATION: [&str; 6] = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"];
/// The same of both kinds of confirmation.
const CONFIRMATION: [&str; 7] = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"];

/// Every field that is read to verify.
pub(in super::super) fn fields() -> Vec<Location> {
    let others = ["SignatureVersion", "SigningCertURL"];
    NOTIFICATION.iter().chain(&CONFIRMATION).chain(&others).map(|name| field(name)).collect()
}

pub(in super::super) fn location(reader: &mut Reader<'_, '_>) -> Result<KeyLocation, VerifyError> {
    let text = reader.read_once(&field("SigningCertURL"))?;
    let url = text.and_then(|text| Url::parse(std::str::from_utf8(&text).ok()?).ok()).filter(is_certificate);
    url.map(KeyLocation::new).ok_or(VerifyError::InvalidSignature)
}

pub(in super::super) fn prove<'a>(
    verifier: &Verifier,
    reader: &mut Reader<'a, '_>,
    key: &PublicKey,
) -> Result<Proven<'a>, VerifyError> {
    let mut claimed = verifier.nothing_claimed();
    let offer = verifier.offer(reader, &mut claimed)?;
    let scheme = verifier.scheme();
    let version: &[u8] = if scheme.hash == Hash::Sha1 { b"1" } else { b"2" };
    let is_right_version = reader.read_once(&field("SignatureVersion"))?.as_deref() == Some(version);
    let topic = reader.read_once(&field("TopicArn"))?;
    let is_own_topic = topic.as_deref() == scheme.setting.as_deref().map(str::as_bytes);
    let text = signed_text(reader)?;
    if is_right_version && is_own_topic && claimed.long().any(|signature| key.verifies(&text, signature)) {
        Ok(Proven::at(offer.position))
    } else {
        Err(VerifyError::InvalidSignature)
    }
}

/// Each field's name and value, a line each.
///
/// Nothing is escaped, and a message may hold lines that look like fields. So that the text is read in one way only, every
/// field but the message is one line, and all are there but the subject, which is the only one that SNS leaves out.
pub(in super::super) fn signed_text(reader: &mut Reader<'_, '_>) -> Result<Vec<u8>, VerifyError> {
    let is_notification = reader.read_once(&field("Type"))?.as_deref() == Some(b"Notification");
    let names: &[&str] = if is_notification { &NOTIFICATION } else { &CONFIRMATION };
    let mut text = Vec::new();
    for name in names {
        let value = reader.read_once(&field(name))?;
        let is_one_line = value.as_ref().is_none_or(|value| *name == "Message" || !value.contains(&b'\n'));
        if !is_one_line || (value.is_none() && *name != "Subject") {
            return Err(VerifyError::MalformedRequest {
                what: "a field of the message is missing or has several lines",
            });
        }
        if let Some(value) = value {
            let lines: [&[u8]; 4] = [name.as_bytes(), b"\n", &value, b"\n"];
            lines.iter().for_each(|part| text.extend_from_slice(part));
        }
    }
    Ok(text)
}

/// `https://sns.REGION.amazonaws.com/....pem`, or the same in China; nothing else is asked.
fn is_certificate(url: &Url) -> bool {
    is_sns(url) && url.path().ends_with(".pem") && url.query().is_none() && url.fragment().is_none()
}

/// A URL of SNS' own, by `https`.
pub(in super::super) fn is_sns(url: &Url) -> bool {
    let region = |host: &str| {
        let rest = host.strip_prefix("sns.")?;
        let region = rest.strip_suffix(".amazonaws.com").or_else(|| rest.strip_suffix(".amazonaws.com.cn"))?;
        (region.len() >= 3 && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')).then_some(())
    };
    url.scheme() == "https"
        && url.port().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && url.host_str().and_then(region).is_some()
}

fn field(name: &str) -> Location {
    Location::Json(format!("/{name}").parse().expect("a valid pointer"))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use serde_json::{Value, json};

    use super::super::super::document::JsonIn;
    use super::super::super::{Pointer, Received};
    use super::*;

    fn text_of(message: &Value) -> Option<String> {
        let (headers, body) = (HeaderMap::new(), message.to_string().into_bytes());
        let fields = fields();
        let pointers: Vec<Pointer> = fields.iter().filter_map(Location::pointer).cloned().collect();
        let received = Received::post(&headers, &body);
        let text = signed_text(&mut Reader::new(&received, &pointers, JsonIn::Body)).ok()?;
        Some(String::from_utf8(text).unwrap())
    }

    fn with(message: &Value, name: &str, value: Option<&str>) -> Value {
        let mut changed = message.clone();
        match value {
            Some(value) => changed[name] = value.into(),
            None => drop(changed.as_object_mut().unwrap().remove(name)),
        }
        changed
    }

    /// Whoever chooses what a message says must not choose what its other fields are.
    #[test]
    fn the_signed_text_is_read_in_one_way_only() {
        let notification = json!({
            "Type": "Notification", "MessageId": "m-1", "TopicArn": "arn", "Subject": "s", "Message": "a\nb",
            "Timestamp": "t", "SignatureVersion": "2",
        });
        let text = "Message\na\nb\nMessageId\nm-1\nSubject\ns\nTimestamp\nt\nTopicArn\narn\nType\nNotification\n";
        assert_eq!(text_of(&notification).as_deref(), Some(text));
        let without = text.replace("Subject\ns\n", "");
        assert_eq!(text_of(&with(&notification, "Subject", None)), Some(without));
        let confirmation = json!({
            "Type": "SubscriptionConfirmation", "MessageId": "m-1", "TopicArn": "arn", "Message": "a", "Timestamp": "t",
            "SubscribeURL": "u", "Token": "k", "Subject": "is not signed",
        });
        let text = "Message\na\nMessageId\nm-1\nSubscribeURL\nu\nTimestamp\nt\nToken\nk\nTopicArn\narn\nType\n\
                    SubscriptionConfirmation\n";
        assert_eq!(text_of(&confirmation).as_deref(), Some(text));
        for name in ["Message", "MessageId", "Timestamp", "TopicArn"] {
            assert_eq!(text_of(&with(&notification, name, None)), None, "{name}");
        }
        for name in ["MessageId", "Subject", "Timestamp", "TopicArn"] {
            assert_eq!(text_of(&with(&notification, name, Some("x\nTimestamp\nt"))), None, "{name}");
        }
        for name in ["SubscribeURL", "Token", "Type"] {
            assert_eq!(text_of(&with(&confirmation, name, None)), None, "{name}");
            assert_eq!(text_of(&with(&confirmation, name, Some("x\ny"))), None, "{name}");
        }
    }

    #[test]
    fn only_certificates_of_sns_are_asked_for() {
        let check = |url: &str, expected: bool| {
            assert_eq!(Url::parse(url).is_ok_and(|url| is_certificate(&url)), expected, "{url}")
        };
        check("https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem", true);
        check("https://sns.cn-north-1.amazonaws.com.cn/x.pem", true);
        for other in [
            "http://sns.eu-west-1.amazonaws.com/x.pem",
            "https://sns.eu-west-1.amazonaws.com/x",
            "https://sns.eu-west-1.amazonaws.com:444/x.pem",
            "https://a@sns.eu-west-1.amazonaws.com/x.pem",
            "https://sns.eu-west-1.amazonaws.com/x?y=z.pem",
            "https://sns.eu-west-1.amazonaws.com/x.pem#1",
            "https://sns.eu-west-1.amazonaws.com.evil.example/x.pem",
            "https://sns.s3.eu-west-1.amazonaws.com/x.pem",
            "https://evil.amazonaws.com/x.pem",
            "https://sns.a.amazonaws.com/x.pem",
        ] {
            check(other, false);
        }
    }
}
