//! Who is at fault when the database says no: the event's statements, the moment, or the server.

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::ledger::{CommitError, LedgerUnavailable};
use crate::telemetry::chain;

/// What to do about an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server cannot be used now; nothing is wrong with the event.
    Unavailable(String),
    /// Another transaction stood in the way; the same again may work.
    Again(String),
    /// The statement is wrong, today and tomorrow.
    Refused(String),
    /// It is, because there is a row with this key.
    Duplicate(String),
}

/// A fault, and which commit of a batch brought it about where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) fault: Fault,
    /// Place in the batch.
    pub(super) of: Option<usize>,
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { fault, of: None }
    }
}

impl From<Failed> for LedgerUnavailable {
    fn from(failed: Failed) -> Self {
        Self(failed.fault.into_reason())
    }
}

impl From<Failed> for CommitError {
    fn from(failed: Failed) -> Self {
        match failed.fault {
            Fault::Refused(reason) => Self::Refused(reason),
            Fault::Duplicate(reason) => Self::Duplicate(reason),
            Fault::Unavailable(reason) | Fault::Again(reason) => Self::Unavailable(reason),
        }
    }
}

impl Fault {
    /// Of a statement of our own, which no event is to blame for.
    pub(super) fn of_own(error: &Error) -> Self {
        match Self::from(error) {
            Self::Refused(reason) | Self::Duplicate(reason) => Self::Unavailable(reason),
            other @ (Self::Unavailable(_) | Self::Again(_)) => other,
        }
    }

    pub(super) fn into_reason(self) -> String {
        match self {
            Self::Unavailable(reason) | Self::Again(reason) | Self::Refused(reason) | Self::Duplicate(reason) => reason,
        }
    }
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        let Some(db) = error.as_db_error() else {
            // The connection broke. If that was during a COMMIT, its outcome is unknown: the inbox knows it.
            return Self::Unavailable(chain(error).to_string());
        };
        let reason = message(db);
        match db.code() {
            code if is_collision(code) => Self::Again(reason),
            code if is_outage(code) => Self::Unavailable(reason),
            code if *code == SqlState::UNIQUE_VIOLATION => Self::Duplicate(reason),
            _ => Self::Refused(reason),
        }
    }
}

fn is_collision(code: &SqlState) -> bool {
    [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::LOCK_NOT_AVAILABLE].contains(code)
}

/// Connection exceptions, insufficient resources, operator intervention, system errors, a standby, damaged data.
///
/// `QUERY_CANCELED` is none of them, although it stands among operator intervention: it is our own statement timeout,
/// and a statement that is too slow for it must climb the retry ladder instead of being tried for ever.
fn is_outage(code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    let outages = [
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        SqlState::DATA_CORRUPTED,
        SqlState::INDEX_CORRUPTED,
    ];
    (matches!(class, "08" | "53" | "57" | "58") && *code != SqlState::QUERY_CANCELED) || outages.contains(code)
}

/// The database's words with its code, without the parameters that some of them quote (class 22, data exceptions).
/// Detail and hint stay out: they quote rows.
fn message(error: &DbError) -> String {
    let code = error.code().code();
    if code.starts_with("22") {
        format!("{} ({code})", without_quotes(error.message()))
    } else {
        format!("{} ({code})", error.message())
    }
}

fn without_quotes(message: &str) -> String {
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => format!("{}\"…\"{}", &message[..first], &message[last + 1..]),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_who_can_do_something_about_them() {
        let check = |code: &SqlState, collision: bool, outage: bool| {
            assert_eq!((is_collision(code), is_outage(code)), (collision, outage), "{}", code.code());
        };
        check(&SqlState::T_R_DEADLOCK_DETECTED, true, false);
        check(&SqlState::T_R_SERIALIZATION_FAILURE, true, false);
        check(&SqlState::LOCK_NOT_AVAILABLE, true, false);
        check(&SqlState::ADMIN_SHUTDOWN, false, true);
        check(&SqlState::CANNOT_CONNECT_NOW, false, true);
        check(&SqlState::TOO_MANY_CONNECTIONS, false, true);
        check(&SqlState::DISK_FULL, false, true);
        check(&SqlState::IO_ERROR, false, true);
        check(&SqlState::CONNECTION_FAILURE, false, true);
        check(&SqlState::READ_ONLY_SQL_TRANSACTION, false, true);
        check(&SqlState::QUERY_CANCELED, false, false);
        check(&SqlState::UNIQUE_VIOLATION, false, false);
        check(&SqlState::UNDEFINED_TABLE, false, false);
        check(&SqlState::SYNTAX_ERROR, false, false);
    }

    #[test]
    fn quoted_parameters_are_left_out() {
        assert_eq!(
            without_quotes("invalid input syntax for type json: \"{\"secret\": 1\""),
            "invalid input syntax for type json: \"…\""
        );
        assert_eq!(without_quotes("integer out of range"), "integer out of range");
        assert_eq!(without_quotes("one \" alone"), "one \" alone");
    }
}
