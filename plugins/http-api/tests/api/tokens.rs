use std::{fs, time::SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};
use serde_json::{Value, json};

use crate::harness::{Api, USER, USER_PASSWORD, folder, plain};

const GROUPS: &[&str] = &["accounts", "spreads"];

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for index in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * index)) as usize & 63]));
        }
    }
    text
}

fn decode(part: &str) -> Value {
    // The library decodes for us: a token whose parts are what they are.
    let claims = jsonwebtoken::dangerous::insecure_decode_claims::<Value>(part);
    claims.unwrap()
}

/// Signs any header and claims, always with HMAC-SHA-256.
fn token(header: &Value, claims: &Value, key: &[u8]) -> String {
    let message = format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
    let signature = sign(message.as_bytes(), &EncodingKey::from_secret(key), Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn edited(value: &Value, edit: impl FnOnce(&mut Value)) -> Value {
    let mut value = value.clone();
    edit(&mut value);
    value
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn forged_tokens_are_nobodys() {
    let api = Api::start(GROUPS).await;
    let good = api.admin().await;
    let user = api.user().await;
    let key_text = fs::read_to_string(api.folder.path().join("data/jwt.key")).unwrap();
    let key = key_text.trim().as_bytes();
    let header = json!({ "typ": "ratebus-session+jwt", "alg": "HS256", "kid": kid(&good) });
    let claims = decode(&good);
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300 * 60);
    // What the table below changes is all that is wrong with it.
    let status = async |token: &str| api.authed(token, "GET", "/v1/spreads", None).await.status;
    assert_eq!(status(&token(&header, &claims, key)).await, 200);

    let parts: Vec<&str> = good.split('.').collect();
    let header_with = |name: &str, value: Value| edited(&header, |header| header[name] = value);
    let claims_with = |name: &str, value: Value| edited(&claims, |claims| claims[name] = value);
    let without = |name: &str| edited(&claims, |claims| drop(claims.as_object_mut().unwrap().remove(name)));
    let none = base64url(header_with("alg", json!("none")).to_string().as_bytes());
    let mut forged = vec![
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!(
            "{}.{}.{}",
            parts[0],
            base64url(claims_with("sub", decode(&user)["sub"].clone()).to_string().as_bytes()),
            parts[2]
        ),
        format!("{}.{}.{}", parts[0], parts[1], user.rsplit('.').next().unwrap()),
        format!("{good}x"),
        format!("{good}.{}", parts[2]),
        "x.y.z".to_owned(),
        token(&header, &claims, b"another key of more than 32 bytes"),
        token(&header, &claims, b""),
        // Signed with our key, and yet not ours.
        token(&edited(&header, |header| drop(header.as_object_mut().unwrap().remove("typ"))), &claims, key),
        token(&header_with("typ", json!("JWT")), &claims, key),
        token(&edited(&header, |header| drop(header.as_object_mut().unwrap().remove("kid"))), &claims, key),
        token(&header_with("kid", json!("")), &claims, key),
        token(&header_with("kid", json!("0123456789abcdef")), &claims, key),
        token(&header_with("kid", json!("../../etc/passwd")), &claims, key),
        token(&header_with("kid", json!("/dev/null")), &claims, b""),
        token(&header_with("kid", json!("' UNION SELECT 'x' --")), &claims, key),
        token(&header_with("kid", json!(["x"])), &claims, key),
        token(&claims_with("sid", json!("00000000-0000-4000-8000-000000000000")), &claims, key),
        token(&header, &claims_with("sid", json!("00000000-0000-4000-8000-000000000000")), key),
        token(&header, &claims_with("sid", json!("' OR 1=1 --")), key),
        token(&header, &claims_with("sub", decode(&user)["sub"].clone()), key),
        token(&header, &claims_with("exp", json!(now() - 60)), key),
        token(&header, &claims_with("exp", json!("never")), key),
        token(&header, &claims_with("exp", json!(now().to_string())), key),
        token(&header, &claims_with("iat", json!(now() + 3600)), key),
        token(&header, &claims_with("nbf", json!(now() + 3600)), key),
        token(&header, &claims_with("nbf", json!("never")), key),
        token(&header, &claims_with("iss", json!("somebody")), key),
        token(&header, &claims_with("aud", json!("another-service")), key),
    ];
    for algorithm in ["none", "None", "HS384", "HS512", "RS256", "ES256", "EdDSA", "", "hs256"] {
        forged.push(token(&header_with("alg", json!(algorithm)), &claims, key));
    }
    for claim in ["iss", "aud", "sub", "sid", "jti", "iat", "exp"] {
        forged.push(token(&header, &without(claim), key));
        forged.push(token(&header, &claims_with(claim, json!(["x"])), key));
    }
    for forged in &forged {
        let answer = api.authed(forged, "GET", "/v1/spreads", None).await;
        assert_eq!(answer.problem(401), "a valid bearer token is required", "{forged}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    // Key tricks in the header lead nowhere: only our key counts.
    let theirs = b"another key of more than 32 bytes";
    for (name, value) in [
        ("jku", json!("http://127.0.0.1/keys")),
        ("x5u", json!("http://127.0.0.1/x")),
        ("x5c", json!([base64url(theirs)])),
        ("jwk", json!({ "kty": "oct", "alg": "HS256", "k": base64url(theirs) })),
    ] {
        assert_eq!(status(&token(&header_with(name, value.clone()), &claims, theirs)).await, 401, "{name}");
    }
    assert_eq!(status(&good).await, 200);
    assert_eq!(api.get(&format!("/v1/spreads?token={good}")).await.status, 401);
    assert_eq!(api.get(&format!("/v1/spreads?access_token={good}")).await.status, 401);
}

#[tokio::test]
async fn a_new_key_ends_no_session() {
    let folder = folder();
    let path = folder.path().join("data/jwt.key");
    let start = async || Api::start_with(GROUPS, &json!({}), &plain(), &folder).await;
    let status = async |api: &Api, token: &str| api.authed(token, "GET", "/v1/me", None).await.status;
    let api = start().await;
    let before = api.user().await;
    api.stop().await.unwrap();

    let old = fs::read_to_string(&path).unwrap();
    let new = "a-new-key-0123456789-of-40-characters-it";
    fs::write(&path, format!("{new}\n{old}")).unwrap();
    let api = start().await;
    let after = api.token(USER, USER_PASSWORD).await;
    assert_ne!(kid(&before), kid(&after));
    assert_eq!((status(&api, &before).await, status(&api, &after).await), (200, 200));
    // Each key is good under its own name only.
    let swapped = json!({ "typ": "ratebus-session+jwt", "alg": "HS256", "kid": kid(&before) });
    assert_eq!(status(&api, &token(&swapped, &decode(&after), new.as_bytes())).await, 401);
    api.stop().await.unwrap();

    fs::write(&path, new).unwrap();
    let api = start().await;
    assert_eq!((status(&api, &before).await, status(&api, &after).await), (401, 200));
}

#[tokio::test]
async fn a_session_ends_at_once() {
    let api = Api::start(GROUPS).await;
    let (first, second) = (api.admin().await, api.token(crate::harness::ADMIN, crate::harness::ADMIN_PASSWORD).await);
    let status = async |token: &str| api.authed(token, "GET", "/v1/spreads", None).await.status;
    assert_eq!((status(&first).await, status(&second).await), (200, 200));
    api.authed(&first, "DELETE", "/logout", None).await.envelope(200, "You're now logged out!");
    assert_eq!((status(&first).await, status(&second).await), (401, 200));
}

#[tokio::test]
async fn role_and_state_are_read_at_use() {
    let api = Api::start(GROUPS).await;
    let (admin, user) = (api.admin().await, api.user().await);
    let rows = api.rows().await;
    let execute = async |sql: &'static str| rows.execute(sql).await;
    let status = async |token: &str| api.authed(token, "GET", "/v1/spreads", None).await.status;

    assert_eq!((status(&admin).await, status(&user).await), (200, 403));
    assert_eq!(execute("UPDATE users SET role = 'user' WHERE email = 'admin@example.com'").await, 1);
    assert_eq!(status(&admin).await, 403);
    assert_eq!(execute("UPDATE users SET role = 'admin'").await, 2);
    assert_eq!((status(&admin).await, status(&user).await), (200, 200));

    assert_eq!(execute("UPDATE users SET disabled = 1 WHERE email = 'ann@example.com'").await, 1);
    assert_eq!(status(&user).await, 401);
    api.login(USER, USER_PASSWORD).await.envelope(401, "Invalid credentials");
    assert_eq!(execute("UPDATE sessions SET expires_at = 1").await, 2);
    assert_eq!(status(&admin).await, 401);
}
