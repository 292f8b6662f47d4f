//! The process's environment: read here and nowhere else.

/// Reads a variable; `None` if it is not set or not UTF-8.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
