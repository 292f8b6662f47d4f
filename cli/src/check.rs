//! `tidegate check`: every mistake of a configuration at once.

use std::path::Path;
use std::process::ExitCode;

use tidegate_shared::config::{self, Backend};
use tidegate_shared::process;

use crate::out::say;

pub(crate) fn check(path: &Path) -> ExitCode {
    let checked = config::load(path).map(|config| {
        for warning in &config.warnings {
            say!("warning: {warning}");
        }
        let backend = match &config.backend {
            Backend::Embedded { path } => format!("embedded in {}", path.display()),
            Backend::Distributed(_) => "distributed".to_owned(),
        };
        let (sources, handlers) = (config.sources.len(), config.handlers.len());
        say!("{}: right. Sources: {sources}. Handlers: {handlers}. Backend: {backend}.", path.display());
        if handlers == 0 {
            say!("note: without a [[handler]] events are kept, and nothing is done with them");
        }
        Ok::<_, std::convert::Infallible>(ExitCode::SUCCESS)
    });
    process::exit_with(checked)
}
