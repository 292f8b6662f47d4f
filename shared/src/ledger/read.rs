//! The ledger's answers to the admin API, each from one state of the database.

use super::row::Row;
use super::{
    DeadLetterCount, DeadLetterDetail, DeadLetterFilter, DeadLetterRow, EventDetail, EventFilter, EventRow, Ledger,
    LedgerUnavailable, Page, Statement, list, step, story,
};

/// What to ask once the rows of the first question are known.
pub(super) type Follow = fn(&[Row]) -> Vec<Statement>;

impl Ledger {
    /// Lists events, newest first.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn events(&self, filter: EventFilter, page: Page) -> Result<Vec<EventRow>, LedgerUnavailable> {
        let first = list::events(&filter, page);
        let mut answers = self.query_on(first, |found| about(found, 1, &[list::parts])).await?.into_iter();
        let events = each(answers.next(), story::event)?;
        Ok(story::events_with_parts(events, each(answers.next(), story::part)?))
    }

    /// Finds events by key, or by the provider's id (of which several sources may have one).
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn event(&self, id: String) -> Result<Vec<EventDetail>, LedgerUnavailable> {
        let follow: Follow = |found| about(found, 1, &[list::parts, list::attempts, list::steps]);
        let mut answers = self.query_on(list::events_by_id(&id), follow).await?.into_iter();
        let events = each(answers.next(), story::event_with_content)?;
        let parts = each(answers.next(), story::part)?;
        let attempts = each(answers.next(), story::attempted)?;
        let steps = each(answers.next(), step::recorded)?;
        Ok(story::details(events, &parts, &attempts, &steps))
    }

    /// Lists dead letters, newest first.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn dead_letters(
        &self,
        filter: DeadLetterFilter,
        page: Page,
    ) -> Result<Vec<DeadLetterRow>, LedgerUnavailable> {
        let rows = self.query(list::dead_letters(&filter, page)).await?;
        rows.iter().map(story::dead_letter).collect()
    }

    /// Counts dead letters by handler and source.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn count_dead_letters(
        &self,
        filter: DeadLetterFilter,
    ) -> Result<Vec<DeadLetterCount>, LedgerUnavailable> {
        let rows = self.query(list::count_dead_letters(&filter)).await?;
        rows.iter().map(story::dead_letter_count).collect()
    }

    /// Finds one dead letter, also one that was replayed or discarded.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn dead_letter_by_id(&self, id: String) -> Result<Option<DeadLetterDetail>, LedgerUnavailable> {
        let first = list::dead_letter_by_id(&id);
        let mut answers = self.query_on(first, |found| about(found, 10, &[list::attempts])).await?.into_iter();
        let Some(found) = each(answers.next(), story::dead_letter_detail)?.pop() else { return Ok(None) };
        Ok(Some(story::dead_letter_with_attempts(found, each(answers.next(), story::attempted)?)))
    }
}

/// A question about the events with these keys.
type Question = fn(&[Vec<u8>]) -> Statement;

/// The questions about the events whose keys stand in the column: none where there are none.
fn about(found: &[Row], column: usize, questions: &[Question]) -> Vec<Statement> {
    let keys: Vec<Vec<u8>> = found.iter().filter_map(|row| row.bytes(column).ok()).collect();
    if keys.is_empty() { Vec::new() } else { questions.iter().map(|question| question(&keys)).collect() }
}

/// Reads the rows of an answer; a question that was not asked has none.
fn each<T>(
    rows: Option<Vec<Row>>,
    read: impl Fn(&Row) -> Result<T, LedgerUnavailable>,
) -> Result<Vec<T>, LedgerUnavailable> {
    rows.unwrap_or_default().iter().map(read).collect()
}
