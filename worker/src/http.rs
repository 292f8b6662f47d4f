//! The worker's API: what the application's own callers use.

mod login;
