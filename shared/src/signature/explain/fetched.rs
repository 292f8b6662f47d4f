//! What is to be said of a signature by a key that the provider keeps.
//!
//! Without the key nothing is known of it. With the key, what can be wrong is a setting of ours, never a secret.

use crate::signature::received::Reader;
use crate::signature::{Kind, Location, Piece, Scheme};

use super::{Cause, Question};

/// Longest name of an SNS topic, in bytes; Amazon's own bound of its last part is 256.
const TOPIC_MAX: usize = 512;

/// Why a request does not verify whose key its provider keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyCause {
    /// The key is not at hand.
    Unknown {
        /// Why not, as a clause.
        why: String,
    },
    /// There is no key to ask for.
    Unnamed,
    /// An SNS message is of another topic than the source.
    Topic {
        /// The source's setting.
        configured: String,
        /// The message's.
        sent: String,
    },
    /// The signature is not that key's.
    Unmatched {
        /// The source's setting, where it is signed too.
        setting: Option<String>,
    },
}

impl KeyCause {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "key_unknown",
            Self::Unnamed => "key_unnamed",
            Self::Topic { .. } => "other_topic",
            Self::Unmatched { .. } => "key_unmatched",
        }
    }

    pub(super) fn why(&self) -> String {
        match self {
            Self::Unknown { why } => {
                format!("Whether its provider signed the request cannot be told without the provider's key: {why}.")
            }
            Self::Unnamed => {
                "The request names no key at its provider's own hosts, or its signature cannot be read.".into()
            }
            Self::Topic { configured, sent } => {
                format!("The message is of the topic {sent}, and this source's setting is {configured}.")
            }
            Self::Unmatched { setting: Some(setting) } => {
                format!("The provider's key did not sign this request for the source's setting, {setting}.")
            }
            Self::Unmatched { setting: None } => "The provider's key did not sign this request.".into(),
        }
    }

    pub(super) fn advice(&self) -> String {
        match self {
            Self::Unknown { .. } => {
                "Ask an ingest that reaches the provider by HTTPS, with `tidegate explain ID`; Plaid tells its keys to \
                 the right secret and setting only."
            }
            Self::Unnamed => "Look whether a proxy changes it; if none does, take it for somebody else's request.",
            Self::Topic { .. } => {
                "If that topic is yours, set the source's setting to its ARN; if not, the message is somebody else's."
            }
            Self::Unmatched { setting: Some(_) } => {
                "Set the source's setting to what the provider shows, as PayPal does the webhook's id and Microsoft Entra \
                 the application's; if it is right, the request is forged or was changed."
            }
            Self::Unmatched { setting: None } => {
                "Look what a proxy changes; if none does, the request is forged: no secret or setting makes it right."
            }
        }
        .into()
    }
}

impl Question<'_> {
    /// What is to be said without the key that the request names.
    pub(super) fn without_key(&self, why: &str) -> Cause {
        let unknown = || KeyCause::Unknown { why: why.to_owned() };
        Cause::Key(self.other_topic().map_or_else(unknown, |sent| self.of_topic(sent)))
    }

    /// The topic of an SNS message, with which it is right.
    pub(super) fn topic(&self) -> Option<Cause> {
        let sent = self.other_topic()?;
        let tried = Scheme { setting: Some(sent.clone()), ..self.source.scheme.clone() };
        let proves = self.proves(&tried, self.source.secrets, &self.received);
        proves.then(|| Cause::Key(self.of_topic(sent)))
    }

    /// What is to be said of a signature that nothing makes right.
    pub(super) fn unmatched(&self) -> Cause {
        let own = self.source.scheme;
        Cause::Key(match self.key {
            Ok(Some(_)) => {
                let is_signed = own.template.has(&Piece::Setting) || own.application().is_some();
                KeyCause::Unmatched { setting: own.setting.clone().filter(|_| is_signed) }
            }
            Ok(None) | Err(_) => KeyCause::Unnamed,
        })
    }

    /// The source's scheme without the tokens of Microsoft's, where the secret beside them is wrong already.
    pub(super) fn without_tokens(&self) -> Option<Scheme> {
        let own = self.source.scheme;
        own.application()?;
        let bare = Scheme { setting: None, ..own.clone() };
        let is_proven = self.proves(&bare, self.source.secrets, &self.received);
        (!is_proven).then_some(bare)
    }

    fn of_topic(&self, sent: String) -> KeyCause {
        KeyCause::Topic { configured: self.source.scheme.setting.clone().unwrap_or_default(), sent }
    }

    /// The topic that an SNS message says it is of, if it is not the source's.
    fn other_topic(&self) -> Option<String> {
        let own = self.source.scheme;
        if own.kind != Kind::AwsSns {
            return None;
        }
        let place = Location::Json("/TopicArn".parse().expect("a valid pointer"));
        let pointers = own.pointers();
        let topic = Reader::new(&self.received, &pointers, own.json_in()).read_once(&place).ok()??;
        let topic = String::from_utf8(topic.into_owned()).ok().filter(|text| is_topic(text));
        topic.filter(|topic| own.setting.as_ref() != Some(topic))
    }
}

/// Whether `text` is written as Amazon writes a topic's name: whoever sent it chose it, and it is shown.
fn is_topic(text: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.".contains(&byte);
    text.len() <= TOPIC_MAX && text.starts_with("arn:") && text.bytes().all(is_usual)
}
