//! What passwords must be like, and what each try to guess one costs.

use ratebus_sdk::ConfigError;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::validate::{common_fault, password_fault};
use crate::{config::Config, envelope::Fault, store::Role};

/// The shortest password that any config can allow, in code points.
pub(crate) const FLOOR: usize = 8;
/// The longest password taken; a longer one is refused, never cut.
pub(crate) const CAP: usize = 256;
/// The shortest password of an administrator unless the config says otherwise: one stolen password changes the price
/// everybody sees.
const ADMIN: usize = 15;

/// What a hash of a password costs: the parameters of Argon2id (RFC 9106).
///
/// By default the least that is taken, the first choice of the OWASP password storage cheat sheet. RFC 9106's second
/// recommended option is 64 MiB, 3 iterations and 4 lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HashCost {
    /// Memory of one hash, in KiB: at least 19456, at most 1048576.
    pub memory_kib: u32,
    /// Passes over that memory: at least 2, at most 32.
    pub iterations: u32,
    /// Parts of the memory that can be computed independently: at least 1, at most 16.
    pub lanes: u32,
}

impl Default for HashCost {
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, iterations: 2, lanes: 1 }
    }
}

impl HashCost {
    /// Weaker parameters are refused, and those that nobody waits for.
    fn check(self, errors: &mut ConfigError) {
        let least = Self::default();
        for (key, value, least, most) in [
            ("memory_kib", self.memory_kib, least.memory_kib, 1024 * 1024),
            ("iterations", self.iterations, least.iterations, 32),
            ("lanes", self.lanes, least.lanes, 16),
        ] {
            if !(least..=most).contains(&value) {
                errors.add(format!("password_hash.{key}"), format!("expected between {least} and {most}"));
            }
        }
    }
}

/// The config's rules for new passwords, checked.
#[derive(Debug, Clone, Copy)]
pub struct PasswordPolicy {
    min: usize,
    min_admin: usize,
    pub(crate) cost: HashCost,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self { min: FLOOR, min_admin: ADMIN, cost: HashCost::default() }
    }
}

impl PasswordPolicy {
    /// The rules of a config.
    ///
    /// # Errors
    /// `min_password`, `min_admin_password` or `password_hash` is wrong.
    pub fn of(config: &Config) -> Result<Self, ConfigError> {
        let mut errors = ConfigError::default();
        let min = config.min_password;
        if !(FLOOR..=CAP).contains(&min) {
            errors.add("min_password", format!("expected between {FLOOR} and {CAP}"));
        }
        let min_admin = config.min_admin_password.unwrap_or(min.max(ADMIN));
        if !(min..=CAP.max(min)).contains(&min_admin) {
            errors.add("min_admin_password", format!("expected between {min} (min_password) and {CAP}"));
        }
        config.password_hash.check(&mut errors);
        errors.or(Self { min, min_admin, cost: config.password_hash })
    }

    /// The shortest password of an administrator, in characters.
    pub fn min_admin(&self) -> usize {
        self.min_admin
    }

    /// Why an account of this role may not have this password. `own` are the account's names and address: who knows
    /// them must not guess it.
    pub(crate) fn fault(&self, password: &SecretString, role: Role, own: &[&str]) -> Option<Fault> {
        let shortest = match role {
            Role::User => self.min,
            Role::Admin => self.min_admin,
        };
        let too_short = format!("The password must not be less than {shortest} characters");
        let password = password.expose_secret();
        password_fault(password, shortest, too_short).or_else(|| common_fault(password, own))
    }
}
