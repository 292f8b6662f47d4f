//! Whether this build may use the ledger it found.

use super::{LedgerUnavailable, SCHEMA_VERSION};

/// Refuses tables of a newer build: it may keep things there that this one would not respect.
///
/// # Errors
/// If one of the migrations that were run is ours, and of a later version than this build's.
pub(super) fn check(applied: &[String]) -> Result<(), LedgerUnavailable> {
    let ours = applied.iter().filter_map(|id| id.strip_prefix("tidegate/")?.parse::<i32>().ok());
    match ours.max() {
        Some(found) if found > SCHEMA_VERSION => Err(LedgerUnavailable(format!(
            "its tables have version {found}, this build knows {SCHEMA_VERSION}: run a newer build"
        ))),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_a_newer_build_are_refused() {
        let check = |ids: &[&str]| check(&ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
        assert!(check(&[]).is_ok());
        assert!(check(&["tidegate/1", "tidegate/2", "payments/7"]).is_ok());
        let refused = check(&["tidegate/1", "tidegate/4"]).expect_err("4 is newer than 3");
        assert!(refused.0.contains("version 4"), "{refused}");
    }
}
