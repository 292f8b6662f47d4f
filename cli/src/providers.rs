//! `tidegate providers`: the presets, with what each signs and how it was proven.

use std::process::ExitCode;

use serde_json::json;
use tidegate_shared::provider::{Preset, presets};
use tidegate_shared::signature::{Location, Scheme};

use crate::out::say;

pub(crate) fn providers(as_json: bool) -> ExitCode {
    if as_json {
        presets().for_each(|preset| say!("{}", object(preset)));
        return ExitCode::SUCCESS;
    }
    for preset in presets() {
        let scheme = preset.scheme();
        say!("{} ({})", preset.name, preset.title);
        for (what, text) in [
            ("signs", &*scheme.proof_in_words()),
            (
                "tolerance",
                &scheme.timestamp.as_ref().map(|rule| format!("{} s", rule.tolerance.as_secs())).unwrap_or_default(),
            ),
            ("event id", &scheme.id_in_words()),
            ("event type", &scheme.event_type_in_words()),
            ("handshake", &handshakes(&scheme)),
            ("batch", &preset.batch().map(|batch| batch.in_words()).unwrap_or_default()),
            ("proven by", preset.proven),
            ("source", preset.source),
            ("note", preset.note),
        ]
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        {
            say!("  {what:<11} {text}");
        }
        say!();
    }
    say!("Any other provider: provider = \"hmac\", with its scheme in [source.signature].");
    ExitCode::SUCCESS
}

fn handshakes(scheme: &Scheme) -> String {
    scheme.handshakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn object(preset: &Preset) -> serde_json::Value {
    let scheme = preset.scheme();
    json!({
        "name": preset.name,
        "title": preset.title,
        "kind": scheme.kind.to_string(),
        "signs": scheme.proof_in_words(),
        "signed": scheme.template.to_string(),
        "hash": scheme.hash.to_string(),
        "encoding": scheme.encoding.to_string(),
        "signature_at": scheme.signature.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "signature_headers": scheme.signature.iter().filter_map(Location::header).map(ToString::to_string).collect::<Vec<_>>(),
        "signs_body": scheme.covers_body(),
        "tolerance_seconds": scheme.timestamp.as_ref().map(|rule| rule.tolerance.as_secs()),
        "id": scheme.id_in_words(),
        "event_type": scheme.event_type_in_words(),
        "handshake": Some(handshakes(&scheme)).filter(|text| !text.is_empty()).unwrap_or_else(|| "none".to_owned()),
        "success": preset.success.as_str(),
        "batch": preset.batch().map(|batch| batch.in_words()),
        "source": preset.source,
        "proven": preset.proven,
        "note": preset.note,
    })
}
