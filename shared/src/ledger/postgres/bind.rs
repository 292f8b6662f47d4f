//! A [`Value`] as the bytes of the type that its placeholder has.
//!
//! Values are encoded before anything is sent, so that a value that does not fit is found while there is no
//! transaction yet, and never in the middle of a pipeline.

use std::fmt;

use bytes::{BufMut, BytesMut};
use jiff::Timestamp;
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};

use crate::ledger::Value;

/// One parameter, encoded. Its `Debug` hides it: the library logs parameters at debug level.
#[derive(Clone, PartialEq)]
pub(super) enum Encoded {
    Null,
    Bytes(BytesMut),
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "NULL",
            Self::Bytes(_) => "…",
        })
    }
}

impl ToSql for Encoded {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Bytes(bytes) => {
                out.put_slice(bytes);
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Encodes the values for placeholders of these types.
///
/// # Errors
/// Which value does not fit, without the value.
pub(super) fn encode_all(values: &[Value], types: &[Type]) -> Result<Vec<Encoded>, String> {
    if values.len() != types.len() {
        return Err(format!("the statement has {} placeholders and {} parameters", types.len(), values.len()));
    }
    let encode_one = |(number, (value, ty)): (usize, (&Value, &Type))| {
        encode(value, ty).map_err(|why| format!("parameter ${}: {why}", number + 1))
    };
    values.iter().zip(types).enumerate().map(encode_one).collect()
}

/// Encodes a parameter of our own, whose type is known to fit.
///
/// # Errors
/// If it is too big for the protocol.
pub(super) fn own(value: &(dyn ToSql + Sync), ty: &Type) -> Result<Encoded, String> {
    let mut out = BytesMut::new();
    match value.to_sql_checked(ty, &mut out).map_err(|error| error.to_string())? {
        IsNull::Yes => Ok(Encoded::Null),
        IsNull::No => Ok(Encoded::Bytes(out)),
    }
}

fn encode(value: &Value, ty: &Type) -> Result<Encoded, String> {
    // A domain has the form of the type it is made of.
    if let Kind::Domain(base) = ty.kind() {
        return encode(value, base);
    }
    let mut out = BytesMut::new();
    match value {
        Value::Null => return Ok(Encoded::Null),
        Value::Int(number) => put_int(*number, ty, &mut out)?,
        Value::Bool(truth) if *ty == Type::BOOL => out.put_u8(u8::from(*truth)),
        Value::Bool(_) => return Err(unfit("a boolean", ty)),
        Value::Float(number) => put_float(*number, ty, &mut out)?,
        Value::Text(text) => put_text(text, ty, &mut out)?,
        Value::Bytes(bytes) if *ty == Type::BYTEA => out.put_slice(bytes),
        Value::Bytes(_) => return Err(unfit("bytes", ty)),
    }
    Ok(Encoded::Bytes(out))
}

fn put_int(number: i64, ty: &Type, out: &mut BytesMut) -> Result<(), String> {
    let too_big = || format!("the integer is out of the range of {ty}");
    match *ty {
        Type::INT2 => out.put_i16(i16::try_from(number).map_err(|_| too_big())?),
        Type::INT4 => out.put_i32(i32::try_from(number).map_err(|_| too_big())?),
        Type::INT8 => out.put_i64(number),
        Type::NUMERIC => put_numeric(number, out),
        _ => return Err(unfit("an integer", ty)),
    }
    Ok(())
}

fn put_float(number: f64, ty: &Type, out: &mut BytesMut) -> Result<(), String> {
    match *ty {
        Type::FLOAT8 => out.put_f64(number),
        #[expect(clippy::cast_possible_truncation, reason = "a column of single precision holds no more")]
        Type::FLOAT4 => out.put_f32(number as f32),
        _ => return Err(unfit("a double", ty)),
    }
    Ok(())
}

fn put_text(text: &str, ty: &Type, out: &mut BytesMut) -> Result<(), String> {
    match *ty {
        // The binary form of jsonb is its version, 1, before the text.
        Type::JSONB => {
            out.put_u8(1);
            out.put_slice(text.as_bytes());
        }
        Type::JSON => out.put_slice(text.as_bytes()),
        Type::UUID => {
            let uuid = uuid::Uuid::try_parse(text).map_err(|_| "the text is not a UUID".to_owned())?;
            out.put_slice(uuid.as_bytes());
        }
        Type::TIMESTAMPTZ => {
            let moment: Timestamp = text.parse().map_err(|_| "the text is not an RFC 3339 timestamp".to_owned())?;
            // Microseconds since 2000-01-01T00:00:00Z.
            out.put_i64(moment.as_microsecond() - 946_684_800_000_000);
        }
        _ if <&str as ToSql>::accepts(ty) || matches!(ty.kind(), Kind::Enum(_)) => out.put_slice(text.as_bytes()),
        _ => return Err(unfit("text", ty)),
    }
    Ok(())
}

fn unfit(what: &str, ty: &Type) -> String {
    format!("{what} does not fit {ty}; cast the placeholder, such as CAST($1 AS TEXT), or use another kind of value")
}

/// An integer in the binary form of `numeric`: base-10000 digits, the weight of the first, sign, no decimals.
fn put_numeric(number: i64, out: &mut BytesMut) {
    let mut digits: Vec<i16> = Vec::with_capacity(5);
    let mut rest = number.unsigned_abs();
    while rest > 0 {
        digits.push(i16::try_from(rest % 10_000).unwrap_or_default());
        rest /= 10_000;
    }
    digits.reverse();
    let count = i16::try_from(digits.len()).unwrap_or_default();
    out.put_i16(count);
    out.put_i16(if count == 0 { 0 } else { count - 1 });
    out.put_u16(if number < 0 { 0x4000 } else { 0 });
    out.put_u16(0);
    digits.into_iter().for_each(|digit| out.put_i16(digit));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fit_the_types_that_can_hold_them() {
        let check = |value: Value, ty: Type, expected: Result<&[u8], &str>| {
            let encoded = encode(&value, &ty);
            match expected {
                Ok(bytes) => assert_eq!(encoded, Ok(Encoded::Bytes(BytesMut::from(bytes))), "{value:?} as {ty}"),
                Err(word) => assert!(encoded.is_err_and(|why| why.contains(word)), "{value:?} as {ty}"),
            }
        };
        check(Value::Int(-2), Type::INT2, Ok(&[0xff, 0xfe]));
        check(Value::Int(40_000), Type::INT2, Err("range"));
        check(Value::Int(1), Type::INT4, Ok(&[0, 0, 0, 1]));
        check(Value::Int(i64::MAX), Type::INT4, Err("range"));
        check(Value::Int(1), Type::INT8, Ok(&[0, 0, 0, 0, 0, 0, 0, 1]));
        check(Value::Int(0), Type::NUMERIC, Ok(&[0, 0, 0, 0, 0, 0, 0, 0]));
        check(Value::Int(-123_456), Type::NUMERIC, Ok(&[0, 2, 0, 1, 0x40, 0, 0, 0, 0, 12, 13, 128]));
        check(Value::Int(1), Type::TEXT, Err("an integer does not fit text"));
        check(Value::Bool(true), Type::BOOL, Ok(&[1]));
        check(Value::Bool(true), Type::INT4, Err("boolean"));
        check(Value::Float(1.0), Type::FLOAT4, Ok(&[0x3f, 0x80, 0, 0]));
        check(Value::Float(1.0), Type::NUMERIC, Err("double"));
        check(Value::from("a"), Type::VARCHAR, Ok(b"a"));
        check(Value::from("{}"), Type::JSONB, Ok(b"\x01{}"));
        check(Value::from("x"), Type::UUID, Err("UUID"));
        check(Value::from("2000-01-01T00:00:01Z"), Type::TIMESTAMPTZ, Ok(&[0, 0, 0, 0, 0, 0x0f, 0x42, 0x40]));
        check(Value::from("x"), Type::INT4, Err("text does not fit"));
        check(Value::from(&b"x"[..]), Type::BYTEA, Ok(b"x"));
        check(Value::from(&b"x"[..]), Type::TEXT, Err("bytes"));
        assert_eq!(encode(&Value::Null, &Type::INT4), Ok(Encoded::Null));
    }

    #[test]
    fn parameters_stay_out_of_debug() {
        let encoded = encode(&Value::from("canary"), &Type::TEXT);
        assert!(!format!("{encoded:?}").contains("canary"));
    }
}
