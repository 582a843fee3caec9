use std::{path::Path, time::Duration};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    decode, decode_header, encode,
    errors::{ErrorKind as JwtErrorKind, Result as JwtResult},
    signature,
};
use ratebus_model::Timestamp;
use ratebus_sdk::{Error, ErrorKind};
use ring::hmac;
use secrecy::{ExposeSecret, SecretSlice};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{sha256::sha256_hex, signing_key};

const ISSUER: &str = "ratebus";
/// Explicit typing keeps other tokens signed with the same key from passing as ours (RFC 8725, 3.11).
const TYPE: &str = "ratebus-session+jwt";
/// How far the clocks of two instances may differ, in seconds.
const LEEWAY: i64 = 5;

/// What a token says. All of it is required.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    iss: String,
    aud: String,
    /// The account's id.
    pub(crate) sub: String,
    /// The session's id: the token is good while the database has it.
    pub(crate) sid: String,
    jti: String,
    iat: i64,
    exp: i64,
}

impl Claims {
    /// The token is good until then.
    pub(crate) fn expires_at(&self) -> Timestamp {
        Timestamp::from_millis(self.exp.saturating_mul(1000))
    }
}

/// Signs and checks bearer tokens: JWTs, always HS256.
pub(crate) struct Tokens {
    /// The first one signs.
    keys: Vec<Key>,
    validation: Validation,
}

struct Key {
    /// Its name in the header of tokens: follows from the key, so that every instance calls it the same.
    id: String,
    signing: EncodingKey,
    checking: DecodingKey,
}

impl Key {
    fn new(key: &SecretSlice<u8>) -> Self {
        let key = key.expose_secret();
        // A part of the hash of a random key tells nothing of it.
        let id = sha256_hex(key).chars().take(16).collect();
        Self { id, signing: EncodingKey::from_secret(key), checking: DecodingKey::from_secret(key) }
    }
}

impl Tokens {
    /// With the keys in `path`; one is made now if there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let tokens = Self::new(&signing_key::read_or_make(path)?);
        let now = Timestamp::from(std::time::SystemTime::now());
        // The library reports a missing backend by panicking at its first use: better now than at the first login.
        let (token, _) = tokens.issue("self-test", "self-test", now, now.plus(Duration::from_mins(1)))?;
        match tokens.check(&token, now) {
            Some(_) => Ok(tokens),
            None => Err(Error::new(ErrorKind::Internal, "the token library does not accept its own tokens")),
        }
    }

    fn new(keys: &[SecretSlice<u8>]) -> Self {
        let _installed_before = PROVIDER.install_default();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // None of ours has it; one that has must be right.
        validation.validate_nbf = true;
        validation.leeway = LEEWAY.unsigned_abs();
        Self { keys: keys.iter().map(Key::new).collect(), validation }
    }

    /// A token of `session` that is good until a time, in whole seconds, and that time.
    pub(crate) fn issue(
        &self,
        account: &str,
        session: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(String, Timestamp), Error> {
        let key = self.keys.first().ok_or_else(|| Error::new(ErrorKind::Internal, "there is no key to sign with"))?;
        let exp = seconds(until);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: ISSUER.to_owned(),
            sub: account.to_owned(),
            sid: session.to_owned(),
            jti: Uuid::new_v4().to_string(),
            iat: seconds(now),
            exp,
        };
        let header = Header { typ: Some(TYPE.to_owned()), kid: Some(key.id.clone()), ..Header::new(Algorithm::HS256) };
        let token = encode(&header, &claims, &key.signing)
            .map_err(|error| Error::new(ErrorKind::Internal, "cannot sign a token").because(error))?;
        Ok((token, Timestamp::from_millis(exp.saturating_mul(1000))))
    }

    /// The claims of a token of ours that has not run out.
    pub(crate) fn check(&self, token: &str, now: Timestamp) -> Option<Claims> {
        // Compared with the names of our keys, and nothing else: it is no path and no query.
        let id = decode_header(token).ok()?.kid?;
        let key = self.keys.iter().find(|key| key.id == id)?;
        let token = decode::<Claims>(token, &key.checking, &self.validation).ok()?;
        let (header, claims) = (token.header, token.claims);
        (header.typ.as_deref() == Some(TYPE) && claims.iat <= seconds(now) + LEEWAY).then_some(claims)
    }
}

/// Seconds since 1970, as JWTs count time.
fn seconds(at: Timestamp) -> i64 {
    at.millis().div_euclid(1000)
}

/// HMAC-SHA-256 by ring, which TLS has linked already. The library's own backends bring an RSA with a known weakness or
/// a large C build.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(Hs256::new(*algorithm, key.as_bytes())?)),
    verifier_factory: |algorithm, key| Ok(Box::new(Hs256::new(*algorithm, key.try_get_as_bytes()?)?)),
    key_utils: KeyUtils::new_unimplemented(),
};

struct Hs256(hmac::Key);

impl Hs256 {
    fn new(algorithm: Algorithm, key: &[u8]) -> JwtResult<Self> {
        match algorithm {
            Algorithm::HS256 => Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key))),
            _ => Err(JwtErrorKind::InvalidAlgorithm.into()),
        }
    }
}

impl signature::Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(hmac::sign(&self.0, message).as_ref().to_vec())
    }
}

impl signature::Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        hmac::verify(&self.0, message, signature).map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}
