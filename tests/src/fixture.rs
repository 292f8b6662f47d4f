//! The real payloads in `fixtures/`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use url::{Position, Url};

use crate::sender::Signed;

/// The folder with the fixtures.
#[must_use]
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// A file of the fixtures, byte for byte.
///
/// # Errors
/// If it is not there.
pub fn read(path: &str) -> Result<Vec<u8>> {
    let path = folder().join(path);
    std::fs::read(&path).with_context(|| format!("fixture {}", path.display()))
}

/// Every example payload of GitHub's: the event's name and the body.
///
/// # Errors
/// If a file cannot be read.
pub fn github_examples() -> Result<Vec<(String, String)>> {
    let mut examples = Vec::new();
    for entry in std::fs::read_dir(folder().join("github"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = path.file_stem().context("a fixture has a name")?.to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path)?;
        let bodies: Vec<&RawValue> = serde_json::from_str(&text)?;
        examples.extend(bodies.into_iter().map(|body| (name.clone(), body.get().to_owned())));
    }
    examples.sort();
    Ok(examples)
}

/// The values of one header.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Values {
    /// As it should be.
    One(String),
    /// A header that is there more than once.
    Several(Vec<String>),
}

impl Values {
    /// Each value.
    #[must_use]
    pub fn each(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Several(values) => values,
        }
    }
}

/// One signature vector; see `fixtures/README.md`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// Its name.
    pub name: String,
    /// Who made it.
    pub provenance: String,
    /// Which scheme it is for.
    pub provider: String,
    /// The source's secrets.
    pub secrets: Vec<String>,
    /// The request's headers.
    pub headers: BTreeMap<String, Values>,
    /// The body as text.
    pub body: Option<String>,
    /// The body as base64, where it is not text.
    pub body_base64: Option<String>,
    /// When it is judged, in unix seconds.
    pub now: i64,
    /// `valid`, or the error's code.
    pub expect: String,
    /// What is special about it.
    #[serde(default)]
    pub note: Option<String>,
    /// The request's method, if it is not POST.
    #[serde(default)]
    pub method: Option<String>,
    /// The URL that the provider calls, where it matters.
    #[serde(default)]
    pub url: Option<String>,
    /// The source's `setting`.
    #[serde(default)]
    pub setting: Option<String>,
    /// Keys and certificates that would be fetched, by their places.
    #[serde(default)]
    pub keys: BTreeMap<String, String>,
    /// The source's tolerance in seconds, if it is not the preset's.
    #[serde(default)]
    pub tolerance: Option<u64>,
    /// The event's id, if it is told.
    #[serde(default)]
    pub id: Option<String>,
    /// The event's type, if it is told.
    #[serde(default)]
    pub event_type: Option<String>,
    /// `hmac.json`: the scheme.
    #[serde(default)]
    pub scheme: Option<Value>,
}

impl Vector {
    /// The request as its sender made it.
    ///
    /// # Errors
    /// If a header cannot be sent, or it has not one body.
    pub fn signed(&self) -> Result<Signed> {
        let mut headers = HeaderMap::new();
        for (name, values) in &self.headers {
            for value in values.each() {
                headers.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
            }
        }
        let body = match (&self.body, &self.body_base64) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(base64)) => STANDARD.decode(base64)?,
            (Some(_), Some(_)) | (None, None) => bail!("{}: a vector has one body", self.name),
        };
        Ok(Signed { headers, body })
    }

    /// The path and query that it is sent to.
    ///
    /// # Errors
    /// If its URL is none.
    pub fn target(&self) -> Result<String> {
        let url = self.url.as_deref().map(Url::parse).transpose()?;
        Ok(url.map_or("/".to_owned(), |url| url[Position::BeforePath..Position::AfterQuery].to_owned()))
    }
}

/// The files of vectors, by name.
///
/// # Errors
/// If the folder cannot be read.
pub fn vector_files() -> Result<Vec<String>> {
    let files = std::fs::read_dir(folder().join("vectors"))?;
    let mut names: Vec<_> =
        files.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// The vectors of a file.
///
/// # Errors
/// If it cannot be read.
pub fn vectors(file: &str) -> Result<Vec<Vector>> {
    Ok(serde_json::from_slice(&read(&format!("vectors/{file}"))?)?)
}

/// The vector of a file that is called so.
///
/// # Errors
/// If there is none.
pub fn vector(file: &str, name: &str) -> Result<Vector> {
    let found = vectors(file)?.into_iter().find(|vector| vector.name == name);
    found.with_context(|| format!("{file} has no vector {name:?}"))
}
