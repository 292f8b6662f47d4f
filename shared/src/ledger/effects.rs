//! What an event does, as data: a handler says it, and the ledger commits it.

use std::borrow::Cow;

use super::StepRecord;

/// A value bound to a placeholder of a [`Statement`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL `NULL`.
    Null,
    /// A 64-bit integer; fits `SMALLINT`, `INTEGER` and `BIGINT` columns.
    Int(i64),
    /// A boolean; 0 or 1 in the embedded store.
    Bool(bool),
    /// A double.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes; `BYTEA` or `BLOB`.
    Bytes(Vec<u8>),
}

/// One SQL statement with its parameters, which are always bound and never spliced.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// SQL that both `PostgreSQL` and SQLite read, with `$1`, `$2`, … for the parameters.
    pub sql: Cow<'static, str>,
    /// The parameters in order.
    pub params: Vec<Value>,
}

/// What an event does: data, so that the ledger can commit it together with the record that it was done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// Statements, run in order inside the one transaction. Each is a single `INSERT`, `UPDATE`, `DELETE`, `MERGE`,
    /// `SELECT`, `VALUES`, `CALL` or `WITH …`: no other can end the transaction, and no other is let through.
    pub statements: Vec<Statement>,
    /// Keep the event's headers and body in the event log.
    pub archive: bool,
    /// How the handler's part ends.
    pub ending: Ending,
    /// Steps that were not recorded yet: kept with the record that the event was handled, unless they stand there.
    pub steps: Vec<StepRecord>,
}

/// How a handler's part in an event ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ending {
    /// What was to be done is done.
    #[default]
    Applied,
    /// One of its steps was rejected for good, and those before it are undone.
    Compensated,
}

impl Ending {
    /// As the inbox keeps it.
    pub(super) fn outcome(self) -> Option<&'static str> {
        match self {
            Self::Applied => None,
            Self::Compensated => Some("compensated"),
        }
    }
}

impl Effects {
    /// No effect in the ledger, only the record that the event was handled.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a statement.
    #[must_use]
    pub fn sql(mut self, sql: impl Into<Cow<'static, str>>, params: impl Into<Vec<Value>>) -> Self {
        self.statements.push(Statement { sql: sql.into(), params: params.into() });
        self
    }

    /// Keeps headers and body in the event log.
    #[must_use]
    pub fn archived(mut self) -> Self {
        self.archive = true;
        self
    }

    /// Ends the handler's part as compensated.
    #[must_use]
    pub fn compensated(mut self) -> Self {
        self.ending = Ending::Compensated;
        self
    }

    /// Records a step together with the effects.
    #[must_use]
    pub fn step(mut self, step: StepRecord) -> Self {
        self.steps.push(step);
        self
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}
value_from!(i64 => Int, i32 => Int, bool => Bool, f64 => Float, String => Text, &str => Text, Vec<u8> => Bytes, &[u8] => Bytes);

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
