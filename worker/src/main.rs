//! `tidegate-worker`: the worker with the built-in handlers, as a process of its own, for the distributed way.

use std::process::ExitCode;

use tidegate_worker::Worker;

fn main() -> ExitCode {
    Worker::new().main()
}
