//! Which statements a handler's effects may hold: those that cannot end the transaction they run in.
//!
//! A `COMMIT` among the effects would cut the inbox row off from what follows it. Both databases prepare each statement
//! by itself, so that a second one cannot hide behind a semicolon, and here its first word decides.

use super::Statement;

/// First words of statements that leave the transaction open. `PostgreSQL` refuses a `COMMIT` inside of `CALL` itself.
const ALLOWED: [&str; 9] = ["INSERT", "UPDATE", "DELETE", "MERGE", "SELECT", "VALUES", "WITH", "CALL", "REPLACE"];

/// Says why the effects cannot be run, without looking at a database.
///
/// # Errors
/// The reason, in words for an operator.
pub(super) fn check(effects: &[Statement]) -> Result<(), String> {
    effects.iter().try_for_each(|statement| {
        let word = first_word(&statement.sql);
        if ALLOWED.iter().any(|allowed| word.eq_ignore_ascii_case(allowed)) {
            Ok(())
        } else {
            Err(format!("effects may not hold a statement that begins with {word:?}"))
        }
    })
}

/// The first word after white space, comments and semicolons.
fn first_word(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '(' || c == '\u{feff}');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = after_comment(comment);
        } else {
            break;
        }
    }
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    &rest[..end]
}

/// What follows the end of the comment. `PostgreSQL` nests comments and SQLite does not: one that holds another
/// begins differently in the two, so nothing is let through after it.
fn after_comment(comment: &str) -> &str {
    match comment.split_once("*/") {
        Some((text, after)) if !text.contains("/*") => after,
        Some(_) | None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_statements_that_leave_the_transaction_open_are_let_through() {
        let check = |sql: &str, expected: bool| {
            assert_eq!(
                check(&[Statement { sql: sql.to_owned().into(), params: Vec::new() }]).is_ok(),
                expected,
                "{sql}"
            );
        };
        check("INSERT INTO t VALUES ($1)", true);
        check("  \n update t SET a = 1", true);
        check("-- why\nDELETE FROM t", true);
        check("/* why */ WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", true);
        check("(SELECT 1)", true);
        check("COMMIT", false);
        check("commit;", false);
        check("; COMMIT", false);
        check("/**/ROLLBACK", false);
        check("/* a /* b */ SELECT 1 -- */ COMMIT", false);
        check("-- SELECT\nEND", false);
        check("SAVEPOINT a", false);
        check("RELEASE one", false);
        check("START TRANSACTION", false);
        check("PREPARE TRANSACTION 'x'", false);
        check("SET search_path = public", false);
        check("PRAGMA journal_mode = DELETE", false);
        check("ATTACH 'x' AS y", false);
        check("SELECTED", false);
        check("", false);
        check("--", false);
        check("/*", false);
    }
}
