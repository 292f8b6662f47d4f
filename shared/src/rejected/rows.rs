//! The rows of the ring: what is written of a rejected request, and how it is read back.

use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{Bounds, RejectedRequest, Row, SealedRequest};
use crate::event::{RequestId, SourceName};
use crate::wire::WireMessage;

/// What a row takes besides its target, headers and body, in bytes.
const ROW: usize = 512;
const COLUMNS: &str = "id, source, request_id, received_at, code, message, method, target, body_bytes, \
                       (SELECT body IS NOT NULL FROM contents WHERE contents.id = rejected.id)";

pub(super) fn insert(tx: &Connection, sealed: &SealedRequest) -> rusqlite::Result<()> {
    let SealedRequest { request, seals } = sealed;
    let headers = header_lines(&request.headers);
    let body = request.body.as_deref();
    let bytes = ROW + request.target.len() + headers.len() + body.map_or(0, <[u8]>::len);
    tx.prepare_cached(
        "INSERT OR REPLACE INTO rejected \
         (id, source, request_id, received_at, code, message, method, target, body_bytes, bytes) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        request.id,
        request.source.as_str(),
        request.request_id.as_str(),
        request.received_at.as_millisecond(),
        request.code,
        request.message,
        request.method.as_str(),
        request.target,
        integer(request.body_bytes),
        integer(bytes),
    ])?;
    tx.prepare_cached("INSERT OR REPLACE INTO contents (id, headers, body, seals) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![request.id, headers, body, serde_json::to_string(seals).unwrap_or_default()])?;
    Ok(())
}

/// Lets the oldest go until the bounds hold: of each source by number, of the source that takes most by bytes.
pub(super) fn trim(tx: &Connection, bounds: Bounds) -> rusqlite::Result<()> {
    let sources: Vec<String> = tx
        .prepare_cached("SELECT DISTINCT source FROM rejected")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for source in sources {
        let too_many: Vec<String> = tx
            .prepare_cached("SELECT id FROM rejected WHERE source = ?1 ORDER BY id DESC LIMIT -1 OFFSET ?2")?
            .query_map(params![source, integer(bounds.keep)], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        too_many.iter().try_for_each(|id| remove(tx, id).map(drop))?;
    }
    let total = "SELECT COALESCE(SUM(bytes), 0) FROM rejected";
    while tx.prepare_cached(total)?.query_row([], |row| row.get::<_, i64>(0))? > integer(bounds.bytes_max) {
        let first: Option<String> = tx
            .prepare_cached(
                "SELECT MIN(id) FROM rejected WHERE source = \
                 (SELECT source FROM rejected GROUP BY source ORDER BY SUM(bytes) DESC LIMIT 1)",
            )?
            .query_row([], |row| row.get(0))?;
        match first {
            Some(id) => drop(remove(tx, &id)?),
            None => break,
        }
    }
    Ok(())
}

pub(super) fn remove(tx: &Connection, id: &str) -> rusqlite::Result<usize> {
    tx.prepare_cached("DELETE FROM contents WHERE id = ?1")?.execute([id])?;
    tx.prepare_cached("DELETE FROM rejected WHERE id = ?1")?.execute([id])
}

/// The newest first: up to `limit` that came before the one called `before`.
pub(super) fn list(
    connection: &Connection,
    source: Option<&str>,
    before: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Vec<Row>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM rejected WHERE (?1 IS NULL OR source = ?1) AND (?2 IS NULL OR id < ?2) \
         ORDER BY id DESC LIMIT ?3"
    );
    connection.prepare_cached(&sql)?.query_map(params![source, before, integer(limit)], row)?.collect()
}

/// Says whether anything lies in the database at `path`, whoever has it. What cannot be read now says no, and is looked at
/// again.
pub(super) fn holds_any(path: &Path) -> bool {
    let look = || -> rusqlite::Result<bool> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.query_row("SELECT EXISTS (SELECT 1 FROM rejected)", [], |row| row.get(0))
    };
    path.exists() && look().unwrap_or(false)
}

/// Every id of a source, the oldest first.
pub(super) fn ids(connection: &Connection, source: &str) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT id FROM rejected WHERE source = ?1 ORDER BY id";
    connection.prepare_cached(sql)?.query_map([source], |row| row.get(0))?.collect()
}

/// The one called `id`; `None` if there is none, or if this build cannot read it.
pub(super) fn get(connection: &Connection, id: &str) -> rusqlite::Result<Option<SealedRequest>> {
    let sql = format!("SELECT {COLUMNS} FROM rejected WHERE id = ?1");
    let found = connection.prepare_cached(&sql)?.query_row([id], row).optional()?;
    let contents = connection
        .prepare_cached("SELECT headers, body, seals FROM contents WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?, row.get::<_, String>(2)?)))
        .optional()?;
    Ok(found.zip(contents).and_then(|(row, (headers, body, seals))| sealed(row, &headers, body, &seals)))
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        id: row.get(0)?,
        source: row.get(1)?,
        request_id: row.get(2)?,
        received_at: Timestamp::from_millisecond(row.get(3)?).unwrap_or_default(),
        code: row.get(4)?,
        message: row.get(5)?,
        method: row.get(6)?,
        target: row.get(7)?,
        body_bytes: u64::try_from(row.get::<_, i64>(8)?).unwrap_or(0),
        body_is_kept: row.get(9)?,
    })
}

fn sealed(row: Row, headers: &[u8], body: Option<Vec<u8>>, seals: &str) -> Option<SealedRequest> {
    let request = RejectedRequest {
        id: row.id,
        source: SourceName::try_new(&row.source).ok()?,
        request_id: RequestId::try_new(&row.request_id).ok()?,
        received_at: row.received_at,
        code: row.code,
        message: row.message,
        method: Method::from_bytes(row.method.as_bytes()).ok()?,
        target: row.target,
        headers: headers_of(headers),
        body: body.map(Bytes::from),
        body_bytes: usize::try_from(row.body_bytes).unwrap_or(usize::MAX),
    };
    Some(SealedRequest { request, seals: serde_json::from_str(seals).ok()? })
}

fn header_lines(headers: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in headers {
        [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"]
            .iter()
            .for_each(|part| lines.extend_from_slice(part));
    }
    lines
}

fn headers_of(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in WireMessage::headers_from_block(lines) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_maybe_shared(value)) {
            headers.append(name, value);
        }
    }
    headers
}

fn integer(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
