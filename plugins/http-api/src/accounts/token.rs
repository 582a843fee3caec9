use std::{path::Path, time::Duration};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    decode, encode,
    errors::{ErrorKind as JwtErrorKind, Result as JwtResult},
    signature,
};
use ratebus_model::Timestamp;
use ratebus_sdk::{Error, ErrorKind};
use ring::hmac;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::signing_key;

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

/// Signs and checks bearer tokens: JWTs, always HS256.
pub(crate) struct Tokens {
    signing: EncodingKey,
    checking: DecodingKey,
    validation: Validation,
    ttl: Duration,
}

impl Tokens {
    /// With the key in `path`, made now if there is none.
    pub(crate) fn open(path: &Path, ttl: Duration) -> Result<Self, Error> {
        let key = signing_key::read_or_make(path)?;
        let tokens = Self::new(key.expose_secret(), ttl);
        let now = Timestamp::from(std::time::SystemTime::now());
        // The library reports a missing backend by panicking at its first use: better now than at the first login.
        let (token, _) = tokens.issue("self-test", "self-test", now)?;
        match tokens.check(&token, now) {
            Some(_) => Ok(tokens),
            None => Err(Error::new(ErrorKind::Internal, "the token library does not accept its own tokens")),
        }
    }

    fn new(key: &[u8], ttl: Duration) -> Self {
        let _installed_before = PROVIDER.install_default();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = LEEWAY.unsigned_abs();
        Self { signing: EncodingKey::from_secret(key), checking: DecodingKey::from_secret(key), validation, ttl }
    }

    /// A token of `session`, and when it runs out.
    pub(crate) fn issue(&self, account: &str, session: &str, now: Timestamp) -> Result<(String, Timestamp), Error> {
        let exp = seconds(now.plus(self.ttl));
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: ISSUER.to_owned(),
            sub: account.to_owned(),
            sid: session.to_owned(),
            jti: Uuid::new_v4().to_string(),
            iat: seconds(now),
            exp,
        };
        let header = Header { typ: Some(TYPE.to_owned()), ..Header::new(Algorithm::HS256) };
        let token = encode(&header, &claims, &self.signing)
            .map_err(|error| Error::new(ErrorKind::Internal, "cannot sign a token").because(error))?;
        Ok((token, Timestamp::from_millis(exp.saturating_mul(1000))))
    }

    /// The claims of a token of ours that has not run out.
    pub(crate) fn check(&self, token: &str, now: Timestamp) -> Option<Claims> {
        let token = decode::<Claims>(token, &self.checking, &self.validation).ok()?;
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
