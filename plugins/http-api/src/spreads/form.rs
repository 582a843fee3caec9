use ratebus_model::{Adjustment, Rule, Sides, Timestamp, Unit, decimal};
use ratebus_sdk::FieldProblem;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::schedule::FARTHEST;
use crate::{
    json::{Fields, string},
    problem::Problem,
};

/// The longest reason, in characters.
const LONGEST_REASON: usize = 200;

/// A markup for each side; positive means that the house earns.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({ "buy": { "unit": "absolute", "value": "450" }, "sell": { "unit": "bps", "value": "25" } }))]
#[expect(dead_code, reason = "`change` reads it, and reports everything that is wrong")]
pub(super) struct SpreadForm {
    buy: Adjustment,
    sell: Adjustment,
    /// For the history. No line breaks, no other control characters, none that turn the direction of the text.
    #[schema(
        max_length = 200,
        nullable = false,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"
    )]
    reason: Option<String>,
    /// When it is to take effect, at most a year ahead. At once without it, or when it has passed.
    #[schema(nullable = false)]
    effective_from: Option<Timestamp>,
}

/// Which revision to return to.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({ "revision": 1 }))]
#[expect(dead_code, reason = "`rollback` reads it, and reports everything that is wrong")]
pub(super) struct RollbackForm {
    revision: u64,
    /// As with `PUT`.
    #[schema(
        max_length = 200,
        nullable = false,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"
    )]
    reason: Option<String>,
    /// As with `PUT`.
    #[schema(nullable = false)]
    effective_from: Option<Timestamp>,
}

/// What `PUT` asks for.
pub(super) struct Change {
    pub(super) rule: Rule,
    pub(super) reason: Option<String>,
    /// When it is to take effect; `None` for at once.
    pub(super) effective_from: Option<Timestamp>,
}

/// What a rollback asks for.
pub(super) struct Rollback {
    /// The one to return to.
    pub(super) revision: u64,
    pub(super) reason: Option<String>,
    pub(super) effective_from: Option<Timestamp>,
}

/// Reads `{"buy": {"unit", "value"}, "sell": {…}, "reason", "effectiveFrom"}`, a markup for each side. Strict: both sides,
/// amounts as strings, no other members; everything that is wrong is reported with its path.
pub(super) fn change(body: &[u8], now: Timestamp) -> Result<Change, Problem> {
    let fields = Fields::parse(body).map_err(Problem::invalid)?;
    let mut errors = fields.unknown("", &["buy", "sell", "reason", "effectiveFrom"]);
    let buy = side(&fields, "buy", &mut errors);
    let sell = side(&fields, "sell", &mut errors);
    let reason = reason(&fields, &mut errors);
    let effective_from = effective_from(&fields, now, &mut errors);
    match (buy, sell) {
        (Some(buy), Some(sell)) if errors.is_empty() => {
            Ok(Change { rule: Rule::from_markup(Sides { buy, sell }), reason, effective_from })
        }
        _ => Err(Problem::fields(errors)),
    }
}

/// Reads `{"revision", "reason", "effectiveFrom"}`, as strictly.
pub(super) fn rollback(body: &[u8], now: Timestamp) -> Result<Rollback, Problem> {
    let fields = Fields::parse(body).map_err(Problem::invalid)?;
    let mut errors = fields.unknown("", &["revision", "reason", "effectiveFrom"]);
    let revision = fields.get("revision").and_then(|value| serde_json::from_str(value.get()).ok());
    if revision.is_none() {
        errors.push(error("revision", "is not a whole number such as 3"));
    }
    let reason = reason(&fields, &mut errors);
    let effective_from = effective_from(&fields, now, &mut errors);
    match revision {
        Some(revision) if errors.is_empty() => Ok(Rollback { revision, reason, effective_from }),
        _ => Err(Problem::fields(errors)),
    }
}

fn reason(fields: &Fields<'_>, errors: &mut Vec<FieldProblem>) -> Option<String> {
    let text = string(fields.get("reason")?);
    let message = match &text {
        None => "is not a string".to_owned(),
        Some(text) if text.chars().count() > LONGEST_REASON => {
            format!("is longer than {LONGEST_REASON} characters")
        }
        Some(text) if text.chars().any(misleads) => "contains a line break or another control character".to_owned(),
        Some(_) => return text,
    };
    errors.push(error("reason", message));
    None
}

/// A time to come; one that has passed is as good as none.
fn effective_from(fields: &Fields<'_>, now: Timestamp, errors: &mut Vec<FieldProblem>) -> Option<Timestamp> {
    let at = string(fields.get("effectiveFrom")?).and_then(|text| text.parse::<Timestamp>().ok());
    let message = match at {
        None => "is not a time such as 2026-09-19T18:57:46Z (RFC 3339)",
        Some(at) if at > now.plus(FARTHEST) => "is more than a year ahead",
        Some(at) => return Some(at).filter(|at| *at > now),
    };
    errors.push(error("effectiveFrom", message));
    None
}

/// What could make one line of a record look like two, or read otherwise than it was written (UAX #9, 2.1 to 2.5).
fn misleads(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
    errors.extend(side.unknown(&format!("{name}."), &["unit", "value"]));
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

fn error(field: &str, message: impl Into<String>) -> FieldProblem {
    FieldProblem { field: field.to_owned(), message: message.into() }
}
