//! The trace that a call belongs to: W3C Trace Context, <https://www.w3.org/TR/trace-context/#traceparent-header>.

use http::HeaderName;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// One attempt's span: the trace's id with an id of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) trace_id: String,
    pub(super) span_id: String,
    flags: String,
}

impl Span {
    /// A child of the span that `parent` names, or the first of a new trace.
    pub(super) fn child_of(parent: Option<&str>) -> Self {
        let (trace_id, flags) = match parent.and_then(parse) {
            Some((trace_id, flags)) => (trace_id.to_owned(), flags.to_owned()),
            None => (random_hex::<16>(), "00".to_owned()),
        };
        Self { trace_id, span_id: random_hex::<8>(), flags }
    }

    /// The header that tells the other side.
    pub(super) fn header(&self) -> String {
        format!("00-{}-{}-{}", self.trace_id, self.span_id, self.flags)
    }
}

/// The trace's id and flags. What is not well formed begins a new trace.
fn parse(parent: &str) -> Option<(&str, &str)> {
    let mut parts = parent.split('-');
    let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_id = |id: &str, length| {
        id.len() == length
            && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && id.bytes().any(|byte| byte != b'0')
    };
    let is_known = version == "00" && parts.next().is_none();
    let is_flags = flags.len() == 2 && flags.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_known && is_flags && is_id(trace_id, 32) && is_id(span_id, 16)).then_some((trace_id, flags))
}

fn random_hex<const BYTES: usize>() -> String {
    let mut bytes = [0; BYTES];
    // Without randomness the id is all zeros, which readers leave out: a trace is not worth failing a call.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = [0; BYTES];
    }
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_stays_in_its_trace_under_an_id_of_its_own() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let (first, second) = (Span::child_of(Some(parent)), Span::child_of(Some(parent)));
        assert!(first.header().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && first.header().ends_with("-01"));
        assert_eq!(first.header().len(), parent.len());
        assert!(first.span_id != second.span_id && first.span_id != "00f067aa0ba902b7");
    }

    #[test]
    fn what_is_not_well_formed_begins_a_new_trace() {
        for bad in [
            "",
            "00",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
            assert_eq!(Span::child_of(Some(bad)).header().len(), 55);
        }
    }
}
