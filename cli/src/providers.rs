//! `tidegate providers`: the presets, with what each signs and how it was proven.

use std::process::ExitCode;

use serde_json::json;
use tidegate_shared::provider::{Preset, presets};

use crate::table::Table;

pub(crate) fn providers(as_json: bool) -> ExitCode {
    if as_json {
        presets().iter().for_each(|preset| println!("{}", object(preset)));
        return ExitCode::SUCCESS;
    }
    let mut table = Table::new(&["PROVIDER", "SIGNS", "EVENT ID", "EVENT TYPE", "PROVEN"]);
    for preset in presets() {
        table.row([preset.name, preset.signs, preset.id, preset.event_type, preset.proven].map(str::to_owned).to_vec());
    }
    println!("{table}");
    println!("Any other provider: provider = \"hmac\", with its scheme in [source.signature].");
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
