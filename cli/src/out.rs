//! Standard output of the commands.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write as _};

use tidegate_shared::process::EXIT_FAILURE;

/// Prints a line; `say!("…")` is `println!` that does not panic when the reader is gone, as in `tidegate events | head`.
macro_rules! say {
    () => { $crate::out::line(format_args!("")) };
    ($($text:tt)*) => { $crate::out::line(format_args!($($text)*)) };
}
pub(crate) use say;

#[expect(clippy::exit, reason = "nobody reads any more: there is nothing left to do and nothing to clean up")]
pub(crate) fn line(text: Arguments<'_>) {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(_) => std::process::exit(i32::from(EXIT_FAILURE)),
    }
}
