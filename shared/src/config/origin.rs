//! Where a value comes from: the configuration's own text, the environment, or a file of its own.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use toml::de::DeValue;

use super::reader::Context;

/// Bytes of a file with a secret at most; the longest public key takes two thousand.
const FILE_MAX: u64 = 64 * 1024;

/// Where a text was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// In the configuration itself.
    Literal,
    /// `env:NAME`
    Environment,
    /// `file:PATH`
    File,
}

/// Whether `file:PATH` names a file, as it does for secrets, or is text like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    Read,
    Text,
}

/// What is taken off a text before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trim {
    Nothing,
    /// One line feed at its end, with the carriage return before it.
    LineFeed,
}

impl Context<'_> {
    /// The text of `value`.
    ///
    /// # Errors
    /// What is wrong; `None` if it is no text at all.
    pub(super) fn text_of(
        &self,
        value: &DeValue<'_>,
        files: Files,
        trim: Trim,
    ) -> Result<(String, Origin), Option<String>> {
        let (text, origin) = match value {
            DeValue::String(text) => self.resolved(text, files)?,
            DeValue::Integer(number) => (number.as_str().replace('_', ""), Origin::Literal),
            DeValue::Float(number) => (number.as_str().replace('_', ""), Origin::Literal),
            DeValue::Boolean(flag) => (flag.to_string(), Origin::Literal),
            DeValue::Datetime(time) => (time.to_string(), Origin::Literal),
            DeValue::Array(_) | DeValue::Table(_) => return Err(None),
        };
        let text = match trim {
            Trim::Nothing if origin == Origin::File && text.ends_with('\n') => {
                return Err(Some(
                    "the file ends with a line feed; if that is no part of it, say { value = \"file:…\", trim = true }"
                        .to_owned(),
                ));
            }
            Trim::Nothing => text,
            Trim::LineFeed => without_line_feed(&text).to_owned(),
        };
        Ok((text, origin))
    }

    fn resolved(&self, text: &str, files: Files) -> Result<(String, Origin), Option<String>> {
        if let Some(name) = text.strip_prefix("env:") {
            let found = (self.env)(name).filter(|value| !value.is_empty());
            let found = found.ok_or_else(|| Some(format!("the environment variable {name} is not set")))?;
            return Ok((found, Origin::Environment));
        }
        let Some(path) = text.strip_prefix("file:").filter(|_| files == Files::Read) else {
            return Ok((text.to_owned(), Origin::Literal));
        };
        match (self.files)(Path::new(path)) {
            Ok(text) if text.is_empty() => Err(Some(format!("the file {path} is empty"))),
            Ok(text) => Ok((text, Origin::File)),
            Err(error) => Err(Some(format!("cannot read the file {path}: {error}"))),
        }
    }
}

fn without_line_feed(text: &str) -> &str {
    let Some(line) = text.strip_suffix('\n') else { return text };
    line.strip_suffix('\r').unwrap_or(line)
}

/// Reads a file with a secret.
pub(super) fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 KiB"));
    }
    Ok(text)
}

/// For whoever reads a configuration without the files that it names.
pub(super) fn no_file(_: &Path) -> io::Result<String> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "files are not read here"))
}
