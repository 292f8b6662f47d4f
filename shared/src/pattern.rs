//! Which events a handler wants: patterns of `source:event.type`.
//!
//! `*` stands for any text within a word, `**` for any number of words; words are separated by dots. A bare `**` is
//! every event of every source.

use std::fmt;

use crate::event::{Event, InvalidName, SourceName};

/// A pattern such as `github:push`, `shop:order.*` or `stripe:**`.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    source: String,
    words: Vec<String>,
}

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No colon between source and event type.
    #[error("expected \"source:event.type\", such as \"github:push\" or \"shop:order.*\", or \"**\" for every event")]
    NoColon,
    /// The source is neither a name nor a pattern of one.
    #[error(transparent)]
    Source(#[from] InvalidName),
    /// A word between two dots is empty, or `**` is mixed with other text.
    #[error("a word of the event type is empty, or \"**\" does not stand alone")]
    Word,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternError`] says what is wrong with it.
    pub fn try_new(text: &str) -> Result<Self, PatternError> {
        if text == "**" {
            return Ok(Self { source: "*".to_owned(), words: vec!["**".to_owned()] });
        }
        let (source, event_type) = text.split_once(':').ok_or(PatternError::NoColon)?;
        let literal = source.replace('*', "x");
        SourceName::try_new(&literal)?;
        let words: Vec<String> = event_type.split('.').map(str::to_owned).collect();
        if words.iter().any(|word| word.is_empty() || (word.contains("**") && word != "**")) {
            return Err(PatternError::Word);
        }
        Ok(Self { source: source.to_owned(), words })
    }

    /// Says whether the event is wanted.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        let words: Vec<&str> = event.event_type.as_str().split('.').collect();
        word_matches(&self.source, event.source.as_str()) && words_match(&self.words, &words)
    }

    /// The source, if the pattern names exactly one.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        (!self.source.contains('*')).then_some(self.source.as_str())
    }

    /// The binding key of an AMQP topic exchange that lets through at least what this pattern matches.
    ///
    /// AMQP has wildcards for whole words only, so `pay*` binds as `*` and [`Self::matches`] decides at the consumer.
    #[must_use]
    pub fn binding_key(&self) -> String {
        let source = if self.source.contains('*') { "*" } else { &self.source };
        let words = self.words.iter().map(|word| match word.as_str() {
            "**" => "#",
            partial if partial.contains('*') => "*",
            literal => literal,
        });
        std::iter::once(source).chain(words).collect::<Vec<_>>().join(".")
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.words.join("."))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn words_match(pattern: &[String], words: &[&str]) -> bool {
    match pattern.split_first() {
        None => words.is_empty(),
        Some((first, rest)) if first == "**" => (0..=words.len()).any(|taken| words_match(rest, &words[taken..])),
        Some((first, rest)) => {
            words.split_first().is_some_and(|(word, left)| word_matches(first, word) && words_match(rest, left))
        }
    }
}

/// Matches one word with `*` for any text; greedy with one step of backtracking, so linear for one `*`.
fn word_matches(pattern: &str, word: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == word,
        Some((head, tail)) => word.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| word_matches(tail, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        text.split('.').collect()
    }

    #[test]
    fn patterns_match_words_and_trees() {
        let check = |pattern: &str, event_type: &str, expected: bool| {
            let pattern = Pattern::try_new(&format!("s:{pattern}")).expect("a valid pattern");
            assert_eq!(words_match(&pattern.words, &words(event_type)), expected, "{pattern} on {event_type}");
        };
        check("push", "push", true);
        check("push", "pushed", false);
        check("order.*", "order.paid", true);
        check("order.*", "order", false);
        check("order.*", "order.paid.twice", false);
        check("order.**", "order", true);
        check("order.**", "order.paid.twice", true);
        check("**.failed", "payment_intent.payment.failed", true);
        check("pay*", "payment", true);
        check("p*t.*", "payment.x", true);
        check("p*t.*", "payer.x", false);
        check("**", "anything.at.all", true);
    }

    #[test]
    fn binding_keys_let_through_at_least_what_matches() {
        let check = |pattern: &str, key: &str| {
            assert_eq!(Pattern::try_new(pattern).expect("a valid pattern").binding_key(), key);
        };
        check("github:push", "github.push");
        check("shop:order.*", "shop.order.*");
        check("stripe:**", "stripe.#");
        check("**", "*.#");
        check("shop:pay*.done", "shop.*.done");
        check("sh*:push", "*.push");
    }

    #[test]
    fn mistakes_are_refused() {
        for bad in ["push", "", "a:", "a:b..c", "a:b**", "A:b", ":b"] {
            assert!(Pattern::try_new(bad).is_err(), "{bad}");
        }
    }
}
