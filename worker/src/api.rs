//! The external APIs, as handlers and callers ask them.

#[cfg_attr(not(test), expect(dead_code, reason = "the client that uses it comes next"))]
mod cache;
#[cfg_attr(not(test), expect(dead_code, reason = "the client that uses it comes next"))]
mod flight;
