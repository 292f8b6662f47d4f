//! `tidegate providers`: the presets, with what each signs and how it was proven.

use std::process::ExitCode;

use serde_json::json;
use tidegate_shared::provider::{Preset, presets};

use crate::out::say;
pub(crate) fn providers(as_json: bool) -> ExitCode {
    if as_json {
        presets().iter().for_each(|preset| say!("{}", object(preset)));
        return ExitCode::SUCCESS;
    }
    for preset in presets() {
        say!("{} ({})", preset.name, preset.title);
        for (what, text) in [
            ("signs", preset.signs),
            ("event id", preset.id),
            ("event type", preset.event_type),
            ("proven by", preset.proven),
            ("source", preset.source),
        ] {
            say!("  {what:<11} {text}");
        }
        say!();
    }
    say!("Any other provider: provider = \"hmac\", with its scheme in [source.signature].");
    ExitCode::SUCCESS
}

fn object(preset: &Preset) -> serde_json::Value {
    let scheme = (preset.scheme)();
    json!({
        "name": preset.name,
        "title": preset.title,
        "signs": preset.signs,
        "hash": scheme.hash.to_string(),
        "encoding": scheme.encoding.to_string(),
        "signature_headers": scheme.signature_headers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "tolerance_seconds": scheme.timestamp.map(|rule| rule.tolerance.as_secs()),
        "id": preset.id,
        "event_type": preset.event_type,
        "handshake": preset.handshake.as_str(),
        "source": preset.source,
        "proven": preset.proven,
    })
}
