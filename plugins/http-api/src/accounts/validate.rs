//! What registration and login take, and the original's words for what they do not.

use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;

use super::{
    common::is_common,
    policy::{self, PasswordPolicy},
};
use crate::{
    envelope::Fault,
    json::{Fields, string},
    store::Role,
};

/// Members that would give an account rights or a state. The original stored `role`, so that anyone could register as an
/// administrator; asking for it is refused rather than ignored, so that nobody believes it worked.
const PRIVILEGES: &[&str] = &[
    "role",
    "roles",
    "isAdmin",
    "is_admin",
    "admin",
    "id",
    "verified",
    "isVerified",
    "is_verified",
    "disabled",
    "createdAt",
    "created_at",
];

/// The longest first or last name, in characters.
const LONGEST_NAME: usize = 100;
/// The longest address, in bytes (RFC 5321, erratum 1690).
const LONGEST_EMAIL: usize = 254;

/// What a registration asks for.
pub(super) struct Registration {
    pub(super) first_name: String,
    pub(super) last_name: String,
    /// In its canonical form.
    pub(super) email: String,
    pub(super) password: SecretString,
}

/// What a login shows.
pub(super) struct Credentials {
    /// In its canonical form.
    pub(super) email: String,
    pub(super) password: SecretString,
}

/// An address as it is stored and compared: trimmed, in lower case.
pub(crate) fn canonical_email(text: &str) -> String {
    text.trim().to_lowercase()
}

/// Whether a canonical address has the form `local@domain.tld`. Whether it exists only a letter could tell.
pub(crate) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let in_local = |c: char| c.is_alphanumeric() || "!#$%&'*+/=?^_`{|}~-.".contains(c);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    let top = domain.rsplit('.').next().unwrap_or_default();
    text.len() <= LONGEST_EMAIL
        && !local.is_empty()
        && local.len() <= 64
        && local.split('.').all(|part| !part.is_empty())
        && local.chars().all(in_local)
        && domain.contains('.')
        && domain.split('.').all(is_label)
        && top.chars().count() >= 2
        && !top.bytes().all(|b| b.is_ascii_digit())
}

/// Reads a registration. All that is wrong is reported, one fault for each member.
pub(super) fn registration(fields: &Fields<'_>, passwords: &PasswordPolicy) -> Result<Registration, Vec<Fault>> {
    let mut faults: Vec<Fault> = PRIVILEGES
        .iter()
        .filter(|&&name| fields.names().any(|given| given.eq_ignore_ascii_case(name)))
        .map(|&name| Fault::new("forbidden", name, format!("The {name} field is not accepted")))
        .collect();
    let first_name = keep(&mut faults, name(fields, "firstName", "first name"));
    let last_name = keep(&mut faults, name(fields, "lastName", "last name"));
    let email = keep(&mut faults, email(fields, "The email field is required", "The email is invalid"));
    let password = text(fields, "password", "The password field is required").map(SecretString::from);
    let own: Vec<&str> = [&first_name, &last_name, &email].into_iter().flatten().map(String::as_str).collect();
    let password = keep(&mut faults, password.and_then(|password| allowed(passwords, password, &own)));
    keep(&mut faults, confirmation(fields, password.as_ref()));
    match (first_name, last_name, email, password) {
        (Some(first_name), Some(last_name), Some(email), Some(password)) if faults.is_empty() => {
            Ok(Registration { first_name, last_name, email, password })
        }
        _ => Err(faults),
    }
}

/// Reads a login. The shortest password is that of any config, so that raising `min_password` locks nobody out.
pub(super) fn credentials(fields: &Fields<'_>) -> Result<Credentials, Vec<Fault>> {
    let mut faults = Vec::new();
    let email = keep(&mut faults, email(fields, "Enter your email address", "Invalid email provided"));
    let password = keep(&mut faults, password(fields));
    match (email, password) {
        (Some(email), Some(password)) => Ok(Credentials { email, password }),
        _ => Err(faults),
    }
}

/// Why `password` is not taken: its length in code points, or what cannot be typed. No rules on what it is made of, and
/// no normalisation: the same at registration and at login.
pub(super) fn password_fault(password: &str, shortest: usize, too_short: String) -> Option<Fault> {
    let length = password.chars().count();
    if length < shortest {
        Some(Fault::new("minLength", "password", too_short))
    } else if length > policy::CAP {
        Some(Fault::new(
            "maxLength",
            "password",
            format!("The password must not be more than {} characters", policy::CAP),
        ))
    } else if password.chars().any(char::is_control) {
        Some(Fault::new("printable", "password", "The password must not contain control characters"))
    } else {
        None
    }
}

/// Why a new password is too easy to guess, by who knows the account's `own` names and address.
pub(super) fn common_fault(password: &str, own: &[&str]) -> Option<Fault> {
    let locals = own.iter().filter_map(|word| word.split_once('@')).map(|(local, _)| local);
    let own: Vec<&str> = own.iter().copied().chain(locals).collect();
    is_common(password, &own).then(|| Fault::new("common", "password", "The password is too easy to guess"))
}

fn keep<T>(faults: &mut Vec<Fault>, result: Result<T, Fault>) -> Option<T> {
    result.map_err(|fault| faults.push(fault)).ok()
}

/// A member that must be a string with something in it.
fn text(fields: &Fields<'_>, field: &'static str, required: &str) -> Result<String, Fault> {
    let missing = || Fault::new("required", field, required);
    let value: &RawValue = fields.given(field).ok_or_else(missing)?;
    let text =
        string(value).ok_or_else(|| Fault::new("string", field, format!("The {field} field must be a string")))?;
    if text.is_empty() { Err(missing()) } else { Ok(text) }
}

pub(super) fn name(fields: &Fields<'_>, field: &'static str, words: &str) -> Result<String, Fault> {
    let required = format!("The {words} field is required");
    let text = text(fields, field, &required)?.trim().to_owned();
    match text.chars().count() {
        0 => Err(Fault::new("required", field, required)),
        1..=LONGEST_NAME if !text.chars().any(char::is_control) => Ok(text),
        1..=LONGEST_NAME => {
            Err(Fault::new("printable", field, format!("The {words} must not contain control characters")))
        }
        _ => {
            Err(Fault::new("maxLength", field, format!("The {words} must not be more than {LONGEST_NAME} characters")))
        }
    }
}

fn email(fields: &Fields<'_>, required: &str, invalid: &str) -> Result<String, Fault> {
    let email = canonical_email(&text(fields, "email", required)?);
    if is_email(&email) { Ok(email) } else { Err(Fault::new("email", "email", invalid)) }
}

/// A password to log in with.
fn password(fields: &Fields<'_>) -> Result<SecretString, Fault> {
    let password = SecretString::from(text(fields, "password", "Enter your password")?);
    let too_short = format!("Password must be at least {} characters", policy::FLOOR);
    match password_fault(password.expose_secret(), policy::FLOOR, too_short) {
        None => Ok(password),
        Some(fault) => Err(fault),
    }
}

/// A password to be registered.
fn allowed(passwords: &PasswordPolicy, password: SecretString, own: &[&str]) -> Result<SecretString, Fault> {
    match passwords.fault(&password, Role::User, own) {
        None => Ok(password),
        Some(fault) => Err(fault),
    }
}

/// `AdonisJS` reports a mismatch at the member that should have confirmed.
fn confirmation(fields: &Fields<'_>, password: Option<&SecretString>) -> Result<(), Fault> {
    let confirmed = SecretString::from(text(fields, "confirmPassword", "The confirm password field is required")?);
    match password {
        Some(password) if password.expose_secret() != confirmed.expose_secret() => {
            Err(Fault::new("confirmed", "confirmPassword", "The password did not match"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["a@example.com", "first.last+tag@sub.example.co", "o'hara@example.com", "ü@exämple.de"] {
            assert!(is_email(good), "{good}");
        }
        let long = format!("a@{}.com", "x.".repeat(130));
        let bad = [
            "",
            "a",
            "@example.com",
            "a@",
            "a@example",
            "a b@example.com",
            "a@exa mple.com",
            "a@@example.com",
            ".a@example.com",
            "a..b@example.com",
            "a@-x.com",
            "a@x-.com",
            "a@x..com",
            "a@1.2.3.4",
            "a\n@example.com",
            "a@example.c",
            &long,
        ];
        for bad in bad {
            assert!(!is_email(bad), "{bad}");
        }
        assert_eq!(canonical_email("  Ann@Example.COM "), "ann@example.com");
    }

    #[test]
    fn passwords_are_measured_in_code_points_and_never_cut() {
        let fault = |password: &str| password_fault(password, 8, String::new()).map(|fault| fault.rule);
        assert_eq!(fault("1234567"), Some("minLength"));
        assert_eq!(fault("12345678"), None);
        assert_eq!(fault("äöüß€😀é "), None);
        assert_eq!(fault(&"x".repeat(256)), None);
        assert_eq!(fault(&"x".repeat(257)), Some("maxLength"));
        assert_eq!(fault("1234567\0"), Some("printable"));
    }
}
