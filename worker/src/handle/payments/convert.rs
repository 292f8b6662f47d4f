//! Conversion of an amount from one currency's minor unit to another's, in exact decimal arithmetic.

use serde_json::value::RawValue;

/// Digits after the point, where they are not two: ISO 4217, list one, column "minor unit"
/// (<https://www.six-group.com/en/products-services/financial-information/data-standards.html>). Except for three that
/// Stripe counts in its own way, and the amounts here are Stripe's: ISK and UGX in hundredths, MGA in whole ones
/// (<https://docs.stripe.com/currencies#special-cases>).
const MINOR_UNITS: [(&str, u32); 26] = [
    ("BIF", 0),
    ("CLP", 0),
    ("DJF", 0),
    ("GNF", 0),
    ("JPY", 0),
    ("KMF", 0),
    ("KRW", 0),
    ("MGA", 0),
    ("PYG", 0),
    ("RWF", 0),
    ("UYI", 0),
    ("VND", 0),
    ("VUV", 0),
    ("XAF", 0),
    ("XOF", 0),
    ("XPF", 0),
    ("BHD", 3),
    ("IQD", 3),
    ("JOD", 3),
    ("KWD", 3),
    ("LYD", 3),
    ("OMR", 3),
    ("TND", 3),
    ("CLF", 4),
    ("UYW", 4),
    ("ISK", 2),
];

/// Digits after the point in `currency`, in upper case.
fn minor_unit(currency: &str) -> u32 {
    MINOR_UNITS.iter().find(|(name, _)| *name == currency).map_or(2, |(_, digits)| *digits)
}

/// An exchange rate, digit for digit as the API wrote it: `digits / 10^scale`.
///
/// Not a float: what the API says is a decimal, and no digit of an amount may hang on how near a double comes to it.
/// Such rates have four to nine significant digits, so a large amount is as precise as they are and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExchangeRate {
    digits: i128,
    scale: i32,
}

impl ExchangeRate {
    /// Reads a JSON number that is more than zero.
    pub(super) fn from_json(number: &RawValue) -> Option<Self> {
        let (mantissa, exponent) = match number.get().split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (number.get(), 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        (digits > 0).then_some(Self { digits, scale })
    }
}

/// `amount` of `from`'s minor unit in `to`'s, half to even. `None` if it is too large, or the rate too fine, to be exact.
pub(super) fn convert(amount: i64, from: &str, to: &str, rate: ExchangeRate) -> Option<i64> {
    let scaled = i128::from(amount).checked_mul(rate.digits)?;
    let shift = i32::try_from(minor_unit(to)).ok()? - i32::try_from(minor_unit(from)).ok()?;
    let exponent = shift.checked_sub(rate.scale)?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    let converted = if exponent >= 0 { scaled.checked_mul(power)? } else { divide_half_to_even(scaled, power) };
    i64::try_from(converted).ok()
}

/// `divisor` is more than zero.
fn divide_half_to_even(dividend: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (dividend.div_euclid(divisor), dividend.rem_euclid(divisor));
    match rest.cmp(&(divisor - rest)) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Equal => quotient + quotient.rem_euclid(2),
        std::cmp::Ordering::Greater => quotient + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Option<ExchangeRate> {
        ExchangeRate::from_json(&RawValue::from_string(text.to_owned()).expect("JSON"))
    }

    #[test]
    fn a_rate_is_read_digit_for_digit() {
        let check = |text: &str, digits: i128, scale: i32| assert_eq!(rate(text), Some(ExchangeRate { digits, scale }));
        check("1", 1, 0);
        check("0.92", 92, 2);
        check("0.9200", 9_200, 4);
        check("42105.5", 421_055, 1);
        check("1e-5", 1, 5);
        check("2.5E+3", 25, -2);
        check("0.1000000000000000055511151231257827", 1_000_000_000_000_000_055_511_151_231_257_827, 34);
        for nonsense in ["0", "0.0", "-1", "-0.5", "null", "\"0.92\"", "[]", "1e99999999999"] {
            assert_eq!(rate(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn amounts_are_converted_to_the_last_minor_unit() {
        let check = |amount: i64, from: &str, to: &str, by: &str, expected: Option<i64>| {
            let rate = rate(by).expect("a rate");
            assert_eq!(convert(amount, from, to, rate), expected, "{amount} {from} to {to} at {by}");
        };
        check(2000, "USD", "EUR", "0.92", Some(1840));
        check(0, "USD", "EUR", "0.92", Some(0));
        // Half to even, and the same below zero.
        check(1, "USD", "EUR", "0.5", Some(0));
        check(3, "USD", "EUR", "0.5", Some(2));
        check(5, "USD", "EUR", "0.5", Some(2));
        check(-1, "USD", "EUR", "0.5", Some(0));
        check(-3, "USD", "EUR", "0.5", Some(-2));
        check(-5, "USD", "EUR", "0.5", Some(-2));
        check(1, "USD", "EUR", "0.500001", Some(1));
        check(-1, "USD", "EUR", "0.500001", Some(-1));
        check(3, "USD", "EUR", "0.499999", Some(1));
        // In doubles 1.005 * 100 is 100.49999999999999, and 0.285 * 1000 is 284.99999999999994.
        check(100, "USD", "EUR", "1.005", Some(100));
        check(300, "USD", "EUR", "1.005", Some(302));
        // Other minor units: 1500 yen, 1.234 dinars, 5 krónur, 500 ariary.
        check(1500, "JPY", "USD", "0.0066", Some(990));
        check(1000, "USD", "JPY", "151.5", Some(1515));
        check(1_234, "KWD", "EUR", "3", Some(370));
        check(370, "EUR", "KWD", "0.333", Some(1232));
        check(500, "ISK", "EUR", "0.0067", Some(3));
        check(500, "MGA", "EUR", "0.0002", Some(10));
        check(7, "JPY", "CLF", "1", Some(70_000));
        check(1, "USD", "EUR", "2.5e3", Some(2500));
        // What does not fit, before or after.
        check(i64::MAX, "USD", "EUR", "1", Some(i64::MAX));
        check(i64::MAX, "USD", "EUR", "1.1", None);
        check(i64::MIN, "USD", "EUR", "1", Some(i64::MIN));
        check(i64::MAX, "JPY", "EUR", "0.1", None);
        check(1, "USD", "EUR", "1e-40", None);
        check(1, "USD", "EUR", "1e40", None);
        check(i64::MAX, "USD", "EUR", "0.1000000000000000055511151231257827", None);
    }
}
