//! Texts of others without our secrets: some servers repeat what they were sent.

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use url::form_urlencoded;

/// What is shorter occurs by chance, and is no secret.
const SECRET_MIN: usize = 4;

/// The text without the secrets, as they are and as they stand in a URL or in a form.
pub(super) fn redact<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = text.to_owned();
    for secret in secrets.into_iter().filter(|secret| secret.len() >= SECRET_MIN) {
        let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let escaped: Cow<'_, str> = utf8_percent_encode(secret, NON_ALPHANUMERIC).into();
        for spelled in [secret, &form, &escaped] {
            text = text.replace(spelled, "***");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_however_it_is_spelled() {
        let secret = "s3cret: of +the% client";
        for said in [secret, "s3cret%3A+of+%2Bthe%25+client", "s3cret%3A%20of%20%2Bthe%25%20client"] {
            assert_eq!(redact(&format!("you sent {said}!"), [secret]), "you sent ***!");
        }
        assert_eq!(redact("a is no secret", ["a"]), "a is no secret");
    }
}
