//! Reads the TOML tree key by key and collects every mistake with its line.
//!
//! A value is first turned into text, from the environment where it says `env:NAME`, and then into its type: so any
//! value may come from the environment, and a number may be written with or without quotes. A secret may come from a file,
//! `file:PATH`, and may be spelled out as a table, `{ value = …, trim = true }`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::Path;
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::origin::{Files, Origin, Trim};
use crate::signature::{DatedSecret, Secret, Validity};

/// A setting's type: how its text is read.
pub trait Setting: Sized {
    /// What a good value looks like, for the message about a bad one.
    const EXPECTED: &'static str;
    /// Whether the text may be shown in messages.
    const SHOWN: bool = true;
    /// Whether it should not stand in the configuration itself.
    const LITERAL_WARNED: bool = false;

    /// Reads the text.
    ///
    /// # Errors
    /// A reason that goes beyond [`Self::EXPECTED`], or an empty one.
    fn from_text(text: &str) -> Result<Self, String>;
}

/// One mistake in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// The key, such as `handler.orders.timeout`.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// Where values come from and mistakes go to.
pub(super) struct Context<'a> {
    pub(super) text: &'a str,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    pub(super) files: &'a dyn Fn(&Path) -> io::Result<String>,
    pub(super) mistakes: RefCell<Vec<Mistake>>,
    pub(super) warnings: RefCell<Vec<String>>,
    /// Every key that was asked for, without names: what the README's table must list.
    pub(super) known: RefCell<BTreeSet<String>>,
}

/// What is said about a secret that stands in the configuration.
const LITERAL: &str = "it stands in the configuration itself, for everyone who can read that; give it as \"env:NAME\" or \
                       \"file:PATH\"";

type Table<'a> = DeTable<'a>;
type Item<'a> = Spanned<DeValue<'a>>;

/// One table of the file, possibly absent.
pub(super) struct Section<'a> {
    context: Rc<Context<'a>>,
    /// For messages: with the names of sources and handlers.
    path: String,
    /// For the list of known keys: without them.
    generic: String,
    table: Option<&'a Table<'a>>,
    line: Option<usize>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    pub(super) fn root(context: Rc<Context<'a>>, table: &'a Table<'a>) -> Self {
        let asked = RefCell::default();
        Self { context, path: String::new(), generic: String::new(), table: Some(table), line: None, asked }
    }

    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Says whether the key is there, right or not.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.item(key).is_some()
    }

    /// Gives the section the name that messages should use, such as `handler.orders`.
    pub(super) fn rename(&mut self, path: String) {
        self.path = path;
    }

    /// The key's value, if it is there and right.
    pub(super) fn get<T: Setting>(&self, key: &'static str) -> Option<T> {
        let item = self.item(key)?;
        self.read(item, &self.path_of(key))
    }

    /// The key's value, or `default` if it is not there.
    pub(super) fn or<T: Setting>(&self, key: &'static str, default: T) -> T {
        self.get(key).unwrap_or(default)
    }

    /// The key's value; it is a mistake to leave it out.
    pub(super) fn required<T: Setting>(&self, key: &'static str) -> Option<T> {
        if self.item(key).is_none() {
            self.mistake_at(self.line, key, format!("missing; expected {}", T::EXPECTED));
            return None;
        }
        self.get(key)
    }

    /// Allows the key without reading it.
    pub(super) fn ignore(&self, key: &'static str) {
        self.item(key);
    }

    /// The values of an array; a single value stands for an array of one.
    pub(super) fn list<T: Setting>(&self, key: &'static str) -> Option<Vec<T>> {
        self.each(key, |item, path| self.read(item, path))
    }

    fn each<T>(&self, key: &'static str, read: impl Fn(&'a Item<'a>, &str) -> Option<T>) -> Option<Vec<T>> {
        let item = self.item(key)?;
        let path = self.path_of(key);
        let Some(array) = item.get_ref().as_array() else {
            return read(item, &path).map(|one| vec![one]);
        };
        let read = array.iter().enumerate().map(|(at, item)| read(item, &format!("{path}[{at}]")));
        // Every element is read, so that every mistake is reported.
        read.collect::<Vec<_>>().into_iter().collect()
    }

    /// The values of an array that must have at least one.
    pub(super) fn required_list<T: Setting>(&self, key: &'static str) -> Option<Vec<T>> {
        self.at_least_one(key, T::EXPECTED, |key| self.list(key))
    }

    /// The secrets of an array, each as its text or as `{ value = …, trim = …, not_before = …, not_after = … }`.
    pub(super) fn secrets<T: Setting + Into<Secret>>(&self, key: &'static str) -> Option<Vec<DatedSecret>> {
        self.each(key, |item, path| self.dated::<T>(item, path))
    }

    /// The same of an array that must have at least one.
    pub(super) fn required_secrets<T: Setting + Into<Secret>>(&self, key: &'static str) -> Option<Vec<DatedSecret>> {
        self.at_least_one(key, T::EXPECTED, |key| self.secrets::<T>(key))
    }

    fn dated<T: Setting + Into<Secret>>(&self, item: &'a Item<'a>, path: &str) -> Option<DatedSecret> {
        let Some(spelled) = self.spelled_out(item, path) else {
            return self.read::<T>(item, path).map(|secret| secret.into().into());
        };
        let validity = Validity { not_before: spelled.get("not_before"), not_after: spelled.get("not_after") };
        if validity.is_never() {
            spelled.mistake("not_after", "it is before not_before, so that the secret would never count".to_owned());
        }
        let secret = spelled.secret::<T>();
        spelled.finish();
        Some(DatedSecret { secret: secret?.into(), validity })
    }

    fn at_least_one<T>(
        &self,
        key: &'static str,
        expected: &str,
        list: impl Fn(&'static str) -> Option<Vec<T>>,
    ) -> Option<Vec<T>> {
        if self.item(key).is_none() {
            self.mistake_at(self.line, key, format!("missing; expected at least one: {expected}"));
            return None;
        }
        let list = list(key)?;
        if list.is_empty() {
            self.mistake(key, format!("empty; expected at least one: {expected}"));
            return None;
        }
        Some(list)
    }

    /// The table under `key`, absent or not.
    pub(super) fn section(&self, key: &'static str) -> Section<'a> {
        let item = self.item(key);
        let table = item.and_then(|item| {
            let table = item.get_ref().as_table();
            if table.is_none() {
                self.mistake(key, format!("expected a table [{}]", self.path_of(key)));
            }
            table
        });
        self.child(self.path_of(key), join(&self.generic, key), table, item.map(|item| self.line_of(item)))
    }

    /// The tables `[key.NAME]`, by their names.
    pub(super) fn named_sections(&self, key: &'static str) -> Vec<(String, Section<'a>)> {
        let parent = self.section(key);
        let Some(table) = parent.table else { return Vec::new() };
        let sections = table.iter().filter_map(|(name, item)| {
            let name = name.get_ref().as_ref();
            let Some(table) = item.get_ref().as_table() else {
                parent.mistake(name, format!("expected a table [{key}.{name}]"));
                return None;
            };
            let line = Some(self.line_of(item));
            Some((name.to_owned(), self.child(parent.path_of(name), parent.generic.clone(), Some(table), line)))
        });
        sections.collect()
    }

    /// The pairs of a table whose keys are the user's own.
    pub(super) fn pairs<T: Setting>(&self, key: &'static str) -> Vec<(String, T)> {
        let section = self.section(key);
        let items = section.table.into_iter().flat_map(|table| table.iter());
        let read = |name: &str, item| Some((name.to_owned(), section.read(item, &section.path_of(name))?));
        items.filter_map(|(name, item)| read(name.get_ref(), item)).collect()
    }

    /// The tables of the array `[[key]]`.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(item) = self.item(key) else { return Vec::new() };
        let Some(array) = item.get_ref().as_array() else {
            self.mistake(key, format!("expected [[{key}]] with two brackets: there can be several"));
            return Vec::new();
        };
        let sections = array.iter().enumerate().filter_map(|(at, item)| {
            let path = format!("{}[{at}]", self.path_of(key));
            let table = item.get_ref().as_table();
            if table.is_none() {
                self.mistake_at(Some(self.line_of(item)), key, "expected a table".to_owned());
            }
            Some(self.child(path, join(&self.generic, key), Some(table?), Some(self.line_of(item))))
        });
        sections.collect()
    }

    /// Reports `message` about `key`.
    pub(super) fn mistake(&self, key: &str, message: String) {
        let line = self.table.and_then(|table| table.get(key)).map(|item| self.line_of(item)).or(self.line);
        self.mistake_at(line, key, message);
    }

    /// Warns about `key`.
    pub(super) fn warn(&self, key: &str, message: &str) {
        self.context.warnings.borrow_mut().push(format!("{}: {message}", self.path_of(key)));
    }

    /// Reports every key that nothing asked for. Call it last.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        let asked = self.asked.borrow();
        for (key, item) in table {
            let key = key.get_ref().as_ref();
            if asked.contains(key) {
                continue;
            }
            let known = asked.iter().copied();
            let message = match nearest(key, known.clone()) {
                Some(near) => format!("unknown key; did you mean {near:?}?"),
                None => format!("unknown key; known here: {}", known.collect::<Vec<_>>().join(", ")),
            };
            self.mistake_at(Some(self.line_of(item)), key, message);
        }
    }

    fn child(&self, path: String, generic: String, table: Option<&'a Table<'a>>, line: Option<usize>) -> Section<'a> {
        let context = Rc::clone(&self.context);
        Section { context, path, generic, table, line, asked: RefCell::default() }
    }

    fn item(&self, key: &'static str) -> Option<&'a Item<'a>> {
        self.asked.borrow_mut().insert(key);
        self.context.known.borrow_mut().insert(join(&self.generic, key));
        self.table?.get(key)
    }

    fn read<T: Setting>(&self, item: &'a Item<'a>, path: &str) -> Option<T> {
        match self.spelled_out(item, path).filter(|_| !T::SHOWN) {
            None => self.read_text(item, path, Trim::Nothing),
            Some(spelled) => {
                let read = spelled.secret();
                spelled.finish();
                read
            }
        }
    }

    /// The table that stands in the place of a secret's text; its keys are no settings of their own.
    fn spelled_out(&self, item: &'a Item<'a>, path: &str) -> Option<Section<'a>> {
        let table = item.get_ref().as_table()?;
        Some(self.child(path.to_owned(), String::new(), Some(table), Some(self.line_of(item))))
    }

    /// The secret of a table that [`Self::spelled_out`] gave.
    fn secret<T: Setting>(&self) -> Option<T> {
        let trim = if self.or("trim", false) { Trim::LineFeed } else { Trim::Nothing };
        let Some(item) = self.item("value") else {
            self.mistake_at(self.line, "value", format!("missing; expected {}", T::EXPECTED));
            return None;
        };
        self.read_text(item, &self.path_of("value"), trim)
    }

    fn read_text<T: Setting>(&self, item: &Item<'_>, path: &str, trim: Trim) -> Option<T> {
        let line = Some(self.line_of(item));
        let report = |message| {
            self.context.mistakes.borrow_mut().push(Mistake { line, key: path.to_owned(), message });
        };
        let files = if T::SHOWN { Files::Text } else { Files::Read };
        let (text, origin) = match self.context.text_of(item.get_ref(), files, trim) {
            Ok(found) => found,
            Err(Some(message)) => {
                report(message);
                return None;
            }
            Err(None) => {
                report(format!("expected {}, found a {}", T::EXPECTED, item.get_ref().type_str()));
                return None;
            }
        };
        match T::from_text(&text) {
            Ok(value) => {
                if T::LITERAL_WARNED && origin == Origin::Literal {
                    self.context.warnings.borrow_mut().push(format!("{path}: {LITERAL}"));
                }
                Some(value)
            }
            Err(reason) => {
                let found = if T::SHOWN { format!(", found {:?}", without_password(&text)) } else { String::new() };
                let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
                report(format!("expected {}{found}{reason}", T::EXPECTED));
                None
            }
        }
    }

    fn mistake_at(&self, line: Option<usize>, key: &str, message: String) {
        let key = self.path_of(key);
        self.context.mistakes.borrow_mut().push(Mistake { line, key, message });
    }

    fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    fn line_of(&self, item: &Item<'_>) -> usize {
        line_at(self.context.text, item.span().start)
    }
}

/// The text without what may be a URL's user and password, however badly the URL is written.
fn without_password(text: &str) -> Cow<'_, str> {
    text.rsplit_once('@').map_or(Cow::Borrowed(text), |(_, rest)| Cow::Owned(format!("***@{rest}")))
}

/// The line, from 1, of the byte `at`.
pub(super) fn line_at(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The known name that `name` was most likely meant to be.
pub(super) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
