//! What the routes of accounts under `/v1` take. A member that is not named here is refused, not ignored: nobody
//! believes that asking for a role worked.

use ratebus_sdk::FieldProblem;
use secrecy::SecretString;
use serde_json::value::RawValue;

use super::{
    policy::PasswordPolicy,
    validate::{Credentials, credentials as original, name},
};
use crate::{
    envelope::Fault,
    json::{Fields, string},
    problem::Problem,
    store::{AccountChange, Role},
};

/// New names; `None` keeps the one there is.
pub(super) struct Names {
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
}

/// A password to be changed.
pub(super) struct PasswordChange {
    pub(super) current: SecretString,
    pub(super) new: SecretString,
}

/// Reads `{"email", "password"}`.
pub(super) fn credentials(body: &[u8]) -> Result<Credentials, Problem> {
    let fields = Fields::parse(body).map_err(Problem::invalid)?;
    let mut errors = fields.unknown("", &["email", "password"]);
    let shown =
        original(&fields).map_err(|faults| errors.extend(faults.into_iter().map(|fault| problem(fault.field, fault))));
    match shown {
        Ok(shown) if errors.is_empty() => Ok(shown),
        _ => Err(Problem::fields(errors)),
    }
}

/// Reads `{"refreshToken"}`, whatever text it is.
pub(super) fn refresh_token(body: &[u8]) -> Result<SecretString, Problem> {
    let fields = Fields::parse(body).map_err(Problem::invalid)?;
    let mut errors = fields.unknown("", &["refreshToken"]);
    let text = |value: &RawValue| string(value).map(SecretString::from);
    let token = fields.get("refreshToken").and_then(text);
    if token.is_none() {
        errors.push(FieldProblem { field: "refreshToken".to_owned(), message: "is required, a string".to_owned() });
    }
    token.filter(|_| errors.is_empty()).ok_or_else(|| Problem::fields(errors))
}

/// Reads `{"firstName", "lastName"}`, either or both.
pub(super) fn names(body: &[u8]) -> Result<Names, Problem> {
    let fields = Fields::parse(body).map_err(Problem::invalid)?;
    let mut errors = fields.unknown("", &["firstName", "lastName"]);
    let mut read = |field, words| {
        fields.get(field)?;
        name(&fields, field, words).map_err(|fault| errors.push(problem(field, fault))).ok()
    };
    let names = Names { first: read("firstName", "first name"), last: read("lastName", "last name") };
    if errors.is_empty() { Ok(names) } else { Err(Problem::fields(errors)) }
}

/// Reads `{"currentPassword", "newPassword"}`. The new one is one that an account of this role, with these `own` names and
/// address, may have.
pub(super) fn password_change(
    body: &[u8],
    passwords: &PasswordPolicy,
    role: Role,
    own: &[&str],
) -> Result<PasswordChange, Problem> {
    let fields = Fields::parse(body).map_err(Problem::invalid)?;
    let mut errors = fields.unknown("", &["currentPassword", "newPassword"]);
    let mut read = |field| {
        let password = fields.get(field).and_then(string).map(SecretString::from);
        if password.is_none() {
            errors.push(FieldProblem { field: String::from(field), message: "is required, a string".to_owned() });
        }
        password
    };
    let (current, new) = (read("currentPassword"), read("newPassword"));
    let fault = new.as_ref().and_then(|new| passwords.fault(new, role, own));
    errors.extend(fault.map(|fault| problem("newPassword", fault)));
    match (current, new) {
        (Some(current), Some(new)) if errors.is_empty() => Ok(PasswordChange { current, new }),
        _ => Err(Problem::fields(errors)),
    }
}

/// Reads `{"role", "disabled"}`, either or both.
pub(super) fn account_change(body: &[u8]) -> Result<AccountChange, Problem> {
    let fields = Fields::parse(body).map_err(Problem::invalid)?;
    let mut errors = fields.unknown("", &["role", "disabled"]);
    let role = |value: &RawValue| string(value)?.parse().ok();
    let role = member(&fields, "role", role, "is neither \"user\" nor \"admin\"", &mut errors);
    let disabled = |value: &RawValue| value.get().parse().ok();
    let disabled = member(&fields, "disabled", disabled, "is neither true nor false", &mut errors);
    if errors.is_empty() { Ok(AccountChange { role, disabled }) } else { Err(Problem::fields(errors)) }
}

/// A member that may be missing; one that is there and cannot be read is an error.
fn member<T>(
    fields: &Fields<'_>,
    field: &str,
    read: impl FnOnce(&RawValue) -> Option<T>,
    wrong: &str,
    errors: &mut Vec<FieldProblem>,
) -> Option<T> {
    let read = read(fields.get(field)?);
    if read.is_none() {
        errors.push(FieldProblem { field: field.to_owned(), message: wrong.to_owned() });
    }
    read
}

fn problem(field: &str, fault: Fault) -> FieldProblem {
    FieldProblem { field: field.to_owned(), message: fault.message }
}
