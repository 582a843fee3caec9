//! What the command line does with the database: the only ways to make an administrator.

use ratebus_model::Timestamp;
use ratebus_sdk::{Error, ErrorKind};
use secrecy::SecretString;
use uuid::Uuid;

pub use crate::store::{DatabaseUrl, MigrationReport, MigrationStatus};
use crate::{
    accounts::{Busy, Hasher, PasswordPolicy, canonical_email, is_email},
    store::{AccountChange, NewUser, Role, Store, StoreError, User},
};

/// An account that [`seed`] made.
#[derive(Debug)]
pub struct SeededAccount {
    /// Its address.
    pub email: &'static str,
    /// `admin` or `user`.
    pub role: &'static str,
    /// Generated, and stored nowhere but as a hash: to be shown once.
    pub password: SecretString,
}

/// The demo accounts.
const DEMO: &[(&str, &str, &str, Role)] = &[
    ("admin@example.com", "Ada", "Admin", Role::Admin),
    ("alice@example.com", "Alice", "Example", Role::User),
    ("bob@example.com", "Bob", "Example", Role::User),
];

/// Runs the pending migrations of the database at `url`, making it if there is none.
///
/// # Errors
/// `Config` if the URL or the database cannot be used, `Connect` for what may pass.
pub async fn migrate(url: &DatabaseUrl) -> Result<MigrationReport, Error> {
    let store = Store::open(url).await?;
    let report = store.migrate().await;
    store.close().await;
    report
}

/// How far the schema of the database at `url` is. Changes nothing, and makes no database.
///
/// # Errors
/// As [`migrate`].
pub async fn migration_status(url: &DatabaseUrl) -> Result<MigrationStatus, Error> {
    if url.file().is_some_and(|file| !file.exists()) {
        return Ok(MigrationStatus::of(&[]));
    }
    let store = Store::open(url).await?;
    let status = store.migration_status().await;
    store.close().await;
    status.map_err(|error| Error::new(ErrorKind::Connect, "cannot read the database").because(error))
}

/// Makes an administrator, running pending migrations first.
///
/// # Errors
/// `Config` if the address is not one or has an account already, or if the password is too short for an
/// administrator or easy to guess.
pub async fn create_admin(
    url: &DatabaseUrl,
    email: &str,
    password: SecretString,
    policy: &PasswordPolicy,
) -> Result<(), Error> {
    let email = canonical_email(email);
    if !is_email(&email) {
        return Err(Error::new(ErrorKind::Config, format!("{email:?} is not an e-mail address")));
    }
    check_password(policy, &password, &[&email])?;
    let store = open_migrated(url).await?;
    let made = make(&store, &Hasher::new(policy.cost)?, &email, ("Admin", "Admin"), Role::Admin, password).await;
    store.close().await;
    if made? { Ok(()) } else { Err(Error::new(ErrorKind::Config, format!("{email} has an account already"))) }
}

/// Makes an administrator of the account that an address has, whatever its password, running pending migrations first.
///
/// # Errors
/// `Config` if the address has no account, or if that is disabled.
pub async fn promote(url: &DatabaseUrl, email: &str) -> Result<(), Error> {
    let email = canonical_email(email);
    let store = open_migrated(url).await?;
    let account = existing(&store, &email).await?;
    if account.disabled {
        return Err(Error::new(
            ErrorKind::Config,
            format!("{email} is disabled: an administrator has to enable it first"),
        ));
    }
    let change = AccountChange { role: Some(Role::Admin), disabled: None };
    store.change_account(&account.id, change).await.map_err(cannot_write)?;
    store.close().await;
    Ok(())
}

/// Gives an account, administrator or not, a new password and ends all its sessions, running pending migrations first.
/// Its failed logins are forgotten: whoever needed this may have guessed, and should not have to wait.
///
/// # Errors
/// `Config` if the address has no account, or if the password is too short for an administrator or easy to guess.
pub async fn reset_password(
    url: &DatabaseUrl,
    email: &str,
    password: SecretString,
    policy: &PasswordPolicy,
) -> Result<(), Error> {
    let email = canonical_email(email);
    let store = open_migrated(url).await?;
    let user = existing(&store, &email).await?;
    let account = store.account(&user.id).await.map_err(cannot_write)?;
    let names = account.map(|account| [account.first_name, account.last_name]).unwrap_or_default();
    check_password(policy, &password, &[&email, &names[0], &names[1]])?;
    let hash = Hasher::new(policy.cost)?.hash(password).await.map_err(cannot_hash)?;
    let changed = store.change_password(&user.id, &user.password_hash, &hash, None).await.map_err(cannot_write)?;
    if !changed {
        return Err(Error::new(ErrorKind::Connect, "the password was changed at the same time"));
    }
    store.forget_failed_logins(&email).await.map_err(cannot_write)?;
    store.close().await;
    Ok(())
}

/// Makes the demo accounts that are missing, an administrator among them, running pending migrations first. Returns
/// those it made.
///
/// # Errors
/// As [`migrate`].
pub async fn seed(url: &DatabaseUrl, policy: &PasswordPolicy) -> Result<Vec<SeededAccount>, Error> {
    let store = open_migrated(url).await?;
    let hasher = Hasher::new(policy.cost)?;
    let mut made = Vec::new();
    for &(email, first, last, role) in DEMO {
        let password = generate()?;
        if make(&store, &hasher, email, (first, last), role, password.clone()).await? {
            made.push(SeededAccount { email, role: role.as_str(), password });
        }
    }
    store.close().await;
    Ok(made)
}

async fn open_migrated(url: &DatabaseUrl) -> Result<Store, Error> {
    let store = Store::open(url).await?;
    // Looked at first: an account of a server may have no right to migrate where nothing has to be.
    if store.require_migrated().await.is_err() {
        store.migrate().await?;
    }
    Ok(store)
}

async fn existing(store: &Store, email: &str) -> Result<User, Error> {
    let user = store.user_by_email(email).await.map_err(cannot_write)?;
    user.ok_or_else(|| Error::new(ErrorKind::Config, format!("{email} has no account")))
}

/// Whether an administrator may have this password; `own` are the account's names and address.
fn check_password(policy: &PasswordPolicy, password: &SecretString, own: &[&str]) -> Result<(), Error> {
    match policy.fault(password, Role::Admin, own) {
        Some(fault) => Err(Error::new(ErrorKind::Config, fault.message)),
        None => Ok(()),
    }
}

fn cannot_hash(error: Busy) -> Error {
    Error::new(ErrorKind::Internal, "cannot hash the password").because(error)
}

fn cannot_write(error: StoreError) -> Error {
    Error::new(ErrorKind::Connect, "cannot write the account").because(error)
}

async fn make(
    store: &Store,
    hasher: &Hasher,
    email: &str,
    (first_name, last_name): (&str, &str),
    role: Role,
    password: SecretString,
) -> Result<bool, Error> {
    let password_hash = hasher.hash(password).await.map_err(cannot_hash)?;
    let created_at = Timestamp::from(std::time::SystemTime::now());
    let id = Uuid::now_v7().to_string();
    let user = NewUser { id: &id, email, first_name, last_name, role, password_hash: &password_hash, created_at };
    store.insert_user(&user).await.map_err(cannot_write)
}

/// 24 random letters and digits, without those that look alike: 137 bits.
fn generate() -> Result<SecretString, Error> {
    const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
    let mut password = String::new();
    while password.len() < 24 {
        let mut random = [0];
        getrandom::fill(&mut random)
            .map_err(|error| Error::new(ErrorKind::Internal, "no random numbers").because(error))?;
        // The bytes past the last whole round would favour the first letters.
        if usize::from(random[0]) < 256 / ALPHABET.len() * ALPHABET.len() {
            password.push(char::from(ALPHABET[usize::from(random[0]) % ALPHABET.len()]));
        }
    }
    Ok(password.into())
}
