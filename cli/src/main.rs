//! `tidegate`: both halves in one process for the embedded way, and the operator's commands for both ways.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate::main()
}
