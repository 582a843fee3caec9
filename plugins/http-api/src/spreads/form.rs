use ratebus_model::{Adjustment, Rule, Sides, Unit, decimal};
use ratebus_sdk::FieldProblem;
use serde_json::value::RawValue;

use crate::{
    json::{Fields, string},
    problem::Problem,
};

/// Reads `{"buy": {"unit", "value"}, "sell": {…}}`, a markup for each side. Strict: both sides, amounts as strings, no
/// other members; everything that is wrong is reported with its path.
pub(super) fn markup(body: &[u8]) -> Result<Rule, Problem> {
    let fields = Fields::parse(body).map_err(Problem::invalid)?;
    let mut errors = unknown(&fields, "", &["buy", "sell"]);
    let buy = side(&fields, "buy", &mut errors);
    let sell = side(&fields, "sell", &mut errors);
    match (buy, sell) {
        (Some(buy), Some(sell)) if errors.is_empty() => Ok(Rule::from_markup(Sides { buy, sell })),
        _ => Err(Problem::fields(errors)),
    }
}

fn side(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldProblem>) -> Option<Adjustment> {
    let Some(value) = fields.get(name) else {
        errors.push(error(name, "is required"));
        return None;
    };
    let Some(side) = Fields::nested(value) else {
        errors.push(error(name, "is not an object such as {\"unit\": \"bps\", \"value\": \"25\"}, each member once"));
        return None;
    };
    errors.extend(unknown(&side, &format!("{name}."), &["unit", "value"]));
    let unit = side.get("unit").map_or(Ok(Unit::default()), unit);
    let value = side.get("value").ok_or_else(|| "is required".to_owned()).and_then(amount);
    let unit = unit.map_err(|message| errors.push(error(&format!("{name}.unit"), message))).ok();
    let value = value.map_err(|message| errors.push(error(&format!("{name}.value"), message))).ok();
    Some(Adjustment { unit: unit?, value: value? })
}

fn unit(value: &RawValue) -> Result<Unit, String> {
    serde_json::from_str(value.get()).map_err(|_| "is not one of \"absolute\", \"percent\" and \"bps\"".to_owned())
}

fn amount(value: &RawValue) -> Result<decimal::Decimal, String> {
    let text = string(value).ok_or_else(|| "is not a string such as \"450\"".to_owned())?;
    decimal::parse(&text).map_err(|invalid| invalid.to_string())
}

fn unknown(fields: &Fields<'_>, prefix: &str, known: &[&str]) -> Vec<FieldProblem> {
    let unknown = fields.names().filter(|name| !known.contains(name));
    let short = |name: &str| name.chars().take(32).collect::<String>();
    unknown
        .map(|name| {
            error(&format!("{prefix}{}", short(name)), format!("is not known here; there are {}", known.join(" and ")))
        })
        .collect()
}

fn error(field: &str, message: impl Into<String>) -> FieldProblem {
    FieldProblem { field: field.to_owned(), message: message.into() }
}
