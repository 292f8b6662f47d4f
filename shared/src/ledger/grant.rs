//! OAuth grants, sealed before they come here: each with a version, so that only one process renews it.

use std::fmt;

use jiff::Timestamp;

use super::{Ledger, LedgerUnavailable, Statement, Value, story};
use crate::event::ApiName;

/// What is kept of the grant that an API gave.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// Raised by each login, renewal and loss.
    pub version: i64,
    /// The grant, sealed; `None` if it was lost, and only a login brings a new one.
    pub sealed: Option<Vec<u8>>,
    /// Why it was lost, in words for an operator.
    pub problem: Option<String>,
    /// Until when a process has it for renewing.
    pub renewing_until: Option<Timestamp>,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("version", &self.version)
            .field("sealed", &self.sealed.as_ref().map(Vec::len))
            .field("problem", &self.problem)
            .field("renewing_until", &self.renewing_until)
            .finish()
    }
}

impl Ledger {
    /// The grant of an API, if it ever gave one.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn grant(&self, api: ApiName) -> Result<Option<Grant>, LedgerUnavailable> {
        let sql = "SELECT version, sealed, problem, renewing_until FROM grants WHERE api = $1";
        let rows = self.query(Statement { sql: sql.into(), params: vec![api.as_str().into()] }).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Grant {
            version: row.number(0)?,
            sealed: row.maybe_bytes(1)?,
            problem: row.maybe_text(2)?,
            renewing_until: row.maybe_number(3)?.map(|at| Timestamp::from_millisecond(at).unwrap_or_default()),
        }))
    }

    /// Keeps the grant of a fresh login in place of whatever is there, and answers its version.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn put_grant(&self, api: ApiName, sealed: Vec<u8>) -> Result<i64, LedgerUnavailable> {
        let sql = "INSERT INTO grants (api, version, sealed, updated_at) VALUES ($1, 1, $2, $3)
                   ON CONFLICT (api) DO UPDATE SET
                       version = grants.version + 1, sealed = excluded.sealed, problem = NULL, renewing_until = NULL,
                       updated_at = excluded.updated_at
                   RETURNING version";
        let params = vec![api.as_str().into(), sealed.into(), now()];
        let rows = self.returning(Statement { sql: sql.into(), params }).await?;
        rows.first().ok_or_else(|| LedgerUnavailable("a grant's version did not come back".to_owned()))?.number(0)
    }

    /// Takes the grant for renewing until `until`. `false` if it is not of this version any more, is lost, or somebody
    /// else has it at `now`.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn lease_grant(
        &self,
        api: ApiName,
        version: i64,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, LedgerUnavailable> {
        let sql = "UPDATE grants SET renewing_until = $3
                   WHERE api = $1 AND version = $2 AND sealed IS NOT NULL
                     AND (renewing_until IS NULL OR renewing_until <= $4)";
        self.change_grant(sql, &api, version, vec![until.as_millisecond().into(), now.as_millisecond().into()]).await
    }

    /// Keeps the renewed grant under the next version. `false`, with nothing kept, if `version` is not the newest.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn renew_grant(&self, api: ApiName, version: i64, sealed: Vec<u8>) -> Result<bool, LedgerUnavailable> {
        let sql = "UPDATE grants SET version = version + 1, sealed = $3, problem = NULL, renewing_until = NULL,
                       updated_at = $4
                   WHERE api = $1 AND version = $2";
        self.change_grant(sql, &api, version, vec![sealed.into(), now()]).await
    }

    /// Forgets a grant that the API does not honour any more. `false`, with nothing changed, if `version` is not the
    /// newest.
    ///
    /// # Errors
    /// If the ledger cannot be reached.
    pub async fn revoke_grant(&self, api: ApiName, version: i64, problem: String) -> Result<bool, LedgerUnavailable> {
        let sql = "UPDATE grants SET version = version + 1, sealed = NULL, problem = $3, renewing_until = NULL,
                       updated_at = $4
                   WHERE api = $1 AND version = $2";
        self.change_grant(sql, &api, version, vec![story::storable(&problem).into(), now()]).await
    }

    /// Gives the grant back after a renewal that failed and may work later.
    ///
    /// # Errors
    /// If the ledger cannot be reached; the lease ends all the same.
    pub async fn release_grant(&self, api: ApiName, version: i64) -> Result<(), LedgerUnavailable> {
        let sql = "UPDATE grants SET renewing_until = NULL WHERE api = $1 AND version = $2";
        self.change_grant(sql, &api, version, Vec::new()).await.map(drop)
    }

    /// Runs a statement on the grant of `api`, `$1`, if its version, `$2`, stands. Says whether it did.
    async fn change_grant(
        &self,
        sql: &'static str,
        api: &ApiName,
        version: i64,
        more: Vec<Value>,
    ) -> Result<bool, LedgerUnavailable> {
        let mut params = vec![api.as_str().into(), version.into()];
        params.extend(more);
        Ok(self.change(Statement { sql: sql.into(), params }).await? == 1)
    }
}

fn now() -> Value {
    Timestamp::now().as_millisecond().into()
}
