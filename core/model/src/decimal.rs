//! Decimals as text, exactly: nothing is rounded on the way in or out.

use ethnum::I256;
pub use rust_decimal::Decimal;

use crate::Invalid;

/// The most decimals after the point that a [`Decimal`] holds.
const MAX_SCALE: i64 = 28;

/// The largest digits, read as an integer, that a [`Decimal`] holds.
const MAX_MANTISSA: I256 = I256::new((1 << 96) - 1);

/// Reads a decimal number as JSON writes one (`-12.50`, `5.1e-05`), keeping trailing zeros where there is room for them.
///
/// Refused rather than rounded: anything a [`Decimal`] cannot hold exactly (28 digits after the point, 96 bits of
/// digits), and texts of more than 38 significant digits whatever their value. Also refused: signs other than one leading minus, separators, spaces, `NaN`, `Infinity`.
pub fn parse(text: &str) -> Result<Decimal, Invalid> {
    parse_exact(text).ok_or_else(|| Invalid::new(text, "a decimal number of at most 28 digits"))
}

fn parse_exact(text: &str) -> Option<Decimal> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, parse_exponent(exponent)?),
        None => (text, 0),
    };
    let (negative, number) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    if whole.is_empty() {
        return None;
    }
    let mut mantissa: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if !digit.is_ascii_digit() {
            return None;
        }
        mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    let scale = i64::try_from(fraction.len()).ok()? - exponent;
    let sign = if negative { -1 } else { 1 };
    from_parts(I256::from(mantissa * sign), scale)
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.strip_prefix('+').unwrap_or(text).parse().ok()
}

/// `mantissa / 10^scale` as a [`Decimal`], if it holds it exactly. Trailing zeros are given up only where there is no room
/// for them.
pub(crate) fn from_parts(mut mantissa: I256, mut scale: i64) -> Option<Decimal> {
    if mantissa == 0 {
        scale = scale.clamp(0, MAX_SCALE);
    }
    while scale < 0 {
        mantissa = mantissa.checked_mul(I256::new(10))?;
        scale += 1;
    }
    while scale > MAX_SCALE || (scale > 0 && mantissa.abs() > MAX_MANTISSA) {
        if mantissa % 10 != 0 {
            return None;
        }
        mantissa /= 10;
        scale -= 1;
    }
    Decimal::try_from_i128_with_scale(i128::try_from(mantissa).ok()?, u32::try_from(scale).ok()?).ok()
}

/// `value` as its integer digits and the number of them after the point.
pub(crate) fn parts(value: Decimal) -> (I256, u32) {
    (I256::from(value.mantissa()), value.scale())
}

/// `mantissa / 10^scale` without trailing zeros, however many digits that takes.
pub(crate) fn text_of(mantissa: I256, scale: u32) -> String {
    let sign = if mantissa < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", mantissa.unsigned_abs().to_string(), width = scale as usize + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

/// `10^power`, or `None` past 76.
pub(crate) fn pow10(power: u32) -> Option<I256> {
    I256::new(10).checked_pow(power)
}

/// `left - right` without rounding, or `None` when no [`Decimal`] holds it.
pub fn checked_sub(left: Decimal, right: Decimal) -> Option<Decimal> {
    let ((left, left_scale), (right, right_scale)) = (parts(left), parts(right));
    let scale = left_scale.max(right_scale);
    let left = left.checked_mul(pow10(scale - left_scale)?)?;
    let right = right.checked_mul(pow10(scale - right_scale)?)?;
    from_parts(left.checked_sub(right)?, i64::from(scale))
}

/// Serde for a [`Decimal`] as a string: `#[serde(with = "decimal::text")]`.
pub mod text {
    use super::{Decimal, parse};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the digits as a JSON string, trailing zeros kept.
    pub fn serialize<S: Serializer>(value: &Decimal, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    /// Reads a string; a bare number is refused, because most readers have already rounded it.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Decimal, D::Error> {
        parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// The text of a JSON number with the same value: no trailing zeros, no exponent, never `-0`.
pub fn json_number(value: Decimal) -> String {
    value.normalize().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kept_to_the_digit() {
        for text in [
            "0",
            "79228162514264337593543950335",
            "20249.00000",
            "-0.00017",
            "0.10000000",
            "12345678901234567890.12345678",
            "0.0000000000000000000000000001",
        ] {
            assert_eq!(parse(text).map(|d| d.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(parse("5.1e-05").map(|d| d.to_string()), Ok("0.000051".to_owned()));
        assert_eq!(parse("1E3").map(|d| d.to_string()), Ok("1000".to_owned()));
        assert_eq!(parse("-0e-9999").map(|d| d.is_zero()), Ok(true));
        let no_room = parse("100.0000000000000000000000000000").map(|d| d.to_string());
        assert_eq!(no_room, Ok("100.00000000000000000000000000".to_owned()));
    }

    #[test]
    fn what_cannot_be_held_exactly_is_refused() {
        for text in [
            "",
            "-",
            ".5",
            "5.",
            "+1",
            "1,5",
            "1_000",
            " 1",
            "1 ",
            "0x10",
            "NaN",
            "Infinity",
            "1e",
            "1e1.5",
            "1e308",
            "1e-400",
            "--1",
            "1e99999",
            "123456789012345678901234567890123456789012345678901234567890",
            "0.00000000000000000000000000001",
            "79228162514264337593543950336",
            "7922816251426433759354395033.51",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn subtraction_never_rounds() {
        let (big, tiny) = (parse("10000000000").unwrap(), parse("0.0000000000000000000000000001").unwrap());
        assert_eq!(checked_sub(big, tiny), None);
        assert_eq!(
            checked_sub(parse("20699.10").unwrap(), parse("20249").unwrap()).map(|d| d.to_string()),
            Some("450.10".to_owned())
        );
    }

    #[test]
    fn texts_have_every_digit_that_counts() {
        let text = |mantissa: i128, scale| text_of(I256::new(mantissa), scale);
        assert_eq!([text(-1_500, 3), text(1_500, 2), text(0, 4), text(25, 6)], ["-1.5", "15", "0", "0.000025"]);
        let long = I256::new(i128::MAX) * I256::new(i128::MAX);
        assert_eq!(text_of(long, 40).replace('.', ""), long.to_string());
    }

    #[test]
    fn json_numbers_are_short() {
        assert_eq!(json_number(parse("20249.00000").unwrap()), "20249");
        assert_eq!(json_number(parse("-0.0").unwrap()), "0");
        assert_eq!(json_number(parse("100").unwrap()), "100");
    }
}
