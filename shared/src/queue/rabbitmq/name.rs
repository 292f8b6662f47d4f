//! The names of everything on the broker; all of them begin with the namespace.

use std::sync::Arc;
use std::time::Duration;

use lapin::types::ShortString;

use crate::event::HandlerName;
use crate::queue::Stream;

/// Longest namespace: with `.handler.` and a handler's name it must fit AMQP's 255 bytes.
pub(super) const NAMESPACE_MAX: usize = 128;

/// The names within one namespace.
#[derive(Debug, Clone)]
pub(super) struct Names(Arc<str>);

impl Names {
    pub(super) fn new(namespace: &str) -> Self {
        assert!(namespace.len() <= NAMESPACE_MAX, "the configuration bounds the namespace");
        Self(namespace.into())
    }

    /// Where events are published.
    pub(super) fn events(&self) -> String {
        format!("{}.events", self.0)
    }

    /// Where events go that no handler wants.
    pub(super) fn unrouted(&self) -> String {
        format!("{}.unrouted", self.0)
    }

    /// The backstop.
    pub(super) fn dead(&self) -> String {
        format!("{}.dead", self.0)
    }

    /// A queue that is always empty; see [`super::pulse`].
    pub(super) fn pulse(&self) -> String {
        format!("{}.pulse", self.0)
    }

    /// A handler's queue.
    pub(super) fn handler(&self, handler: &HandlerName) -> String {
        format!("{}{handler}", self.handler_prefix())
    }

    /// What the names of all handlers' queues begin with.
    pub(super) fn handler_prefix(&self) -> String {
        format!("{}.handler.", self.0)
    }

    /// A rung of the retry ladder.
    pub(super) fn rung(&self, delay: Duration) -> String {
        format!("{}.retry.{}", self.0, delay_text(delay))
    }

    /// The queue behind a stream.
    pub(super) fn queue_of(&self, stream: &Stream) -> String {
        match stream {
            Stream::Handler(handler) => self.handler(handler),
            Stream::Dead => self.dead(),
            Stream::Unrouted => self.unrouted(),
        }
    }
}

/// A name as AMQP writes it.
///
/// # Panics
/// Over 255 bytes, which the bounds of namespace, handler, source and event type exclude.
pub(super) fn short(name: impl Into<String>) -> ShortString {
    ShortString::try_new(name).expect("the parts of every name are bounded so that it fits")
}

/// `5500ms`, `33s`, `2m`, `6h`: in the largest unit that needs no fraction.
fn delay_text(delay: Duration) -> String {
    const UNITS: [(u128, &str); 3] = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let millis = delay.as_millis();
    match UNITS.iter().find(|(size, _)| millis >= *size && millis.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{}{unit}", millis / size),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_have_short_names() {
        let check = |millis, expected: &str| assert_eq!(delay_text(Duration::from_millis(millis)), expected);
        check(5_000, "5s");
        check(5_500, "5500ms");
        check(120_000, "2m");
        check(132_000, "132s");
        check(3_960_000, "66m");
        check(21_600_000, "6h");
        check(1, "1ms");
    }

    #[test]
    fn the_longest_parts_fit() {
        let names = Names::new(&"n".repeat(NAMESPACE_MAX));
        let handler = HandlerName::try_new(&"h".repeat(crate::event::NAME_MAX)).expect("a valid name");
        assert!(short(names.handler(&handler)).as_str().ends_with('h'));
        assert_eq!(names.queue_of(&Stream::Dead), names.dead());
    }
}
