//! How else a secret may have been written down on the other side.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::signature::{Scheme, SignatureFormat};

/// What providers, and files of variables, put in front of a secret.
const PREFIXES: [&str; 8] = ["whsec_", "v1,whsec_", "whpk_", "base64:", "hex:", "sha256=", "Bearer ", "secret="];
/// Prefixes that are left out when a secret is copied.
const LEFT_OUT: [&str; 2] = ["whsec_", "v1,whsec_"];

/// How the sender's secret differs from the configured one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextChange {
    /// The sender's has a line feed at its end.
    Newline,
    /// The sender's has a carriage return and a line feed at its end.
    CrLf,
    /// The sender's has a space at its end.
    SpaceBehind,
    /// The sender's has a space at its begin.
    SpaceBefore,
    /// The sender's has no such prefix.
    WithoutPrefix(&'static str),
    /// The sender's has this prefix.
    WithPrefix(&'static str),
    /// The sender's has quotes around it.
    Quoted,
    /// The configured one has quotes around it.
    Unquoted,
}

/// Every other way to write `secret`.
pub(super) fn changed(secret: &str) -> Vec<(TextChange, String)> {
    let mut all = vec![
        (TextChange::Newline, format!("{secret}\n")),
        (TextChange::CrLf, format!("{secret}\r\n")),
        (TextChange::SpaceBehind, format!("{secret} ")),
        (TextChange::SpaceBefore, format!(" {secret}")),
        (TextChange::Quoted, format!("\"{secret}\"")),
        (TextChange::Quoted, format!("'{secret}'")),
    ];
    for quote in ['"', '\''] {
        let inner = secret.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        all.extend(inner.map(|inner| (TextChange::Unquoted, inner.to_owned())));
    }
    for prefix in PREFIXES {
        let rest = secret.strip_prefix(prefix);
        all.extend(rest.map(|rest| (TextChange::WithoutPrefix(prefix), rest.to_owned())));
    }
    for prefix in LEFT_OUT {
        if !secret.starts_with(prefix) {
            all.push((TextChange::WithPrefix(prefix), format!("{prefix}{secret}")));
        }
    }
    all
}

/// Every text that a request may carry as the credential which `secret` is: as the scheme has it, and as HTTP's usual ways
/// have it.
#[must_use]
pub fn sent_as(secret: &str, scheme: &Scheme) -> Vec<String> {
    let basic = STANDARD.encode(secret);
    let mut all = vec![secret.to_owned(), scheme.format.write(secret, "")];
    all.extend(["Basic", "basic"].map(|word| format!("{word} {basic}")));
    all.extend(["Bearer", "bearer", "Token", "token"].map(|word| format!("{word} {secret}")));
    if let SignatureFormat::MaybePrefixed(prefix) = &scheme.format {
        all.push(format!("{prefix}{secret}"));
    }
    all
}

/// The same, of the secret and of every other way to write it.
#[must_use]
pub fn credentials(secret: &str, scheme: &Scheme) -> Vec<String> {
    let others = changed(secret).into_iter().map(|(_, text)| text);
    std::iter::once(secret.to_owned()).chain(others).flat_map(|text| sent_as(&text, scheme)).collect()
}
