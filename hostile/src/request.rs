//! A request, as one text: `POST /webhooks/x`, a line for each header, an empty line, the body.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tidegate_shared::signature::Received;

use crate::input::Input;

/// Most headers of one request, as at the door.
const HEADERS_MAX: usize = 64;

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn received(&self) -> Received<'_> {
        let Self { method, target, headers, body } = self;
        Received { method, target, headers, body }
    }

    /// Reads any bytes; what no request could hold is left out.
    pub(crate) fn read(mut input: Input<'_>) -> Self {
        let first = input.text();
        let (method, target) = first.split_once(' ').unwrap_or(("POST", &first));
        let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::POST);
        let mut headers = HeaderMap::new();
        loop {
            let line = input.line();
            if line.is_empty() {
                break;
            }
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let (name, value) = line.split_at(colon);
            let value = value.strip_prefix(b": ").unwrap_or_default();
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
                && headers.len() < HEADERS_MAX
            {
                headers.append(name, value);
            }
        }
        Self { method, target: target.to_owned(), headers, body: input.rest().to_vec() }
    }

    /// What [`Self::read`] reads.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut text = format!("{} {}\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            let line: [&[u8]; 4] = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"];
            line.iter().for_each(|part| text.extend_from_slice(part));
        }
        text.push(b'\n');
        text.extend_from_slice(&self.body);
        text
    }
}
