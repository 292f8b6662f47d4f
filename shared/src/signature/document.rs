//! Where in a body its JSON is.

use std::borrow::Cow;

use http::{HeaderMap, header};
use url::form_urlencoded;

use super::json::Strings;
use super::{Received, native};

/// Where a request's JSON is.
#[derive(Debug, Clone, Copy)]
pub(super) enum JsonIn<'s> {
    /// It is the body.
    Body,
    /// In a field, where the body is a form; the body otherwise.
    Field(&'s str),
    /// In the claims of the token that is the body. Claims that are JSON again, written as strings, are read on.
    Token,
}

impl JsonIn<'_> {
    pub(super) fn strings(self) -> Strings {
        match self {
            Self::Body | Self::Field(_) => Strings::Closed,
            Self::Token => Strings::Opened,
        }
    }
}

/// The JSON of a request. A field that is there twice is none.
pub(super) fn document<'a>(received: &Received<'a>, json_in: JsonIn<'_>) -> Cow<'a, [u8]> {
    match json_in {
        JsonIn::Body => Cow::Borrowed(received.body),
        JsonIn::Field(field) => in_field(received, field),
        JsonIn::Token => Cow::Owned(native::jwt::payload(received.body).unwrap_or_default()),
    }
}

fn in_field<'a>(received: &Received<'a>, field: &str) -> Cow<'a, [u8]> {
    let body = received.body;
    if is_form(received.headers) {
        let values = form_urlencoded::parse(body).filter(|(name, _)| name == field).map(|(_, value)| value);
        return only(values).map_or(Cow::Borrowed(b""), |value| Cow::Owned(value.into_owned().into_bytes()));
    }
    match delimiter(received.headers).zip(std::str::from_utf8(body).ok()) {
        Some((delimiter, text)) => {
            let inner = between(text, &delimiter).unwrap_or_default();
            only(parts(inner, &delimiter, field)).map_or(Cow::Borrowed(b""), Cow::Borrowed)
        }
        None => Cow::Borrowed(body),
    }
}

/// Whether the body is said to be `application/x-www-form-urlencoded`.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    media_type(headers)
        .is_some_and(|(media_type, _)| media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// What separates the parts of a `multipart/form-data` ([RFC 7578](https://www.rfc-editor.org/rfc/rfc7578)), with the end of
/// the line before it: elsewhere than at the begin of a line the same bytes are content.
fn delimiter(headers: &HeaderMap) -> Option<String> {
    let (media_type, parameters) = media_type(headers)?;
    let boundary = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("boundary="));
    boundary
        .filter(|_| media_type.eq_ignore_ascii_case("multipart/form-data"))
        .map(|text| format!("\r\n--{}", text.trim_matches('"')))
}

fn media_type(headers: &HeaderMap) -> Option<(&str, &str)> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (media_type, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    Some((media_type.trim(), parameters))
}

/// What stands between the first delimiter, which begins the body, and the last one, which ends it.
fn between<'t>(text: &'t str, delimiter: &str) -> Option<&'t str> {
    let rest = text.strip_prefix(delimiter.trim_start())?;
    let (inner, end) = rest.rsplit_once(delimiter)?;
    (end.trim_end() == "--").then_some(inner)
}

/// The contents of the parts called `field`.
fn parts<'t>(text: &'t str, delimiter: &str, field: &str) -> impl Iterator<Item = &'t [u8]> {
    let name = format!("name=\"{field}\"");
    text.split(delimiter).filter_map(move |part| {
        let (head, content) = part.strip_prefix("\r\n")?.split_once("\r\n\r\n")?;
        let is_called_so = |line: &str| line.split(';').any(|parameter| parameter.trim() == name);
        head.lines().any(is_called_so).then_some(content.as_bytes())
    })
}

fn only<T>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    if values.next().is_none() { Some(first) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content_type: &str, body: &str, expected: &str) {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type.parse().unwrap())]);
        let found = document(&Received::post(&headers, body.as_bytes()), JsonIn::Field("json"));
        assert_eq!(std::str::from_utf8(&found).unwrap(), expected, "{body}");
    }

    #[test]
    fn json_is_found_in_every_kind_of_body() {
        const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
        check("application/json", "{}", "{}");
        check(FORM, "a=b&json=%7B%7D", "{}");
        check(FORM, "json=1&json=2", "");
        check(FORM, "a=b", "");
        let part =
            |name: &str, content: &str| format!("--xyz\r\nContent-Disposition: form-data; {name}\r\n\r\n{content}\r\n");
        let whole = |parts: &[String]| format!("{}--xyz--\r\n", parts.concat());
        for content_type in ["multipart/form-data; boundary=xyz", "Multipart/Form-Data; charset=x; boundary=\"xyz\""] {
            let parts = [part("name=\"a\"", "b"), part("name=\"json\"", "{\r\n\r\n}")];
            check(content_type, &whole(&parts), "{\r\n\r\n}");
            check(content_type, &whole(&[part("filename=\"json\"", "{}")]), "");
            check(content_type, &whole(&[part("name=\"json\"", "1"), part("name=\"json\"", "2")]), "");
            check(content_type, "--xyz\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{}", "");
            check(content_type, &format!("a{}", whole(&[part("name=\"json\"", "{}")])), "");
            // Within a line the delimiter is content, as for every other reader.
            let held = [part("name=\"json\"", "1--xyz\n--xyz"), part("name=\"json\"", "2")];
            check(content_type, &whole(&held[..1]), "1--xyz\n--xyz");
            check(content_type, &whole(&held), "");
            check(content_type, "", "");
        }
    }
}
