//! What only a server can do to the ledger.
