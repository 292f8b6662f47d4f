//! `tidegate check`: every mistake of a configuration at once.

use std::path::Path;
use std::process::ExitCode;

use tidegate_shared::config::{self, Backend, Config, OnBrokerDown};
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
        if let Some(note) = spool_note(&config) {
            say!("note: {note}");
        }
        Ok::<_, std::convert::Infallible>(ExitCode::SUCCESS)
    });
    process::exit_with(checked)
}

/// What somebody who asks for a spool must know.
fn spool_note(config: &Config) -> Option<String> {
    let spooled = config.sources.values().filter(|source| source.on_broker_down == OnBrokerDown::Spool);
    let names: Vec<&str> = spooled.map(|source| source.name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let names = names.join(", ");
    Some(match &config.backend {
        Backend::Embedded { .. } => {
            format!("on_broker_down = \"spool\" ({names}) has no meaning here: the embedded backend has no broker")
        }
        Backend::Distributed(_) => {
            let path = std::path::absolute(&config.ingest.spool.path).unwrap_or(config.ingest.spool.path.clone());
            format!(
                "while RabbitMQ is away, events of {names} wait in {} on the machine of each ingest; it must be on a local \
                 disk that survives the process and the machine's restart (no tmpfs, no container's own layer, no NFS)",
                path.display()
            )
        }
    })
}
