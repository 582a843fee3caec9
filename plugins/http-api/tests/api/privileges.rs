//! Rights are given by administrators alone: nothing that a body names gives its sender any.

use serde_json::{Value, json};

use crate::harness::{Answer, Api, USER, USER_PASSWORD, registration};

const GROUPS: &[&str] = &["quotes", "accounts", "spreads"];

/// What somebody might ask for, and how.
const PRIVILEGES: &[&str] = &[
    "role",
    "Role",
    "ROLE",
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

/// Every route that is for administrators, with a body that it takes.
const ADMIN_ROUTES: &[(&str, &str, Option<&str>)] = &[
    ("GET", "/v1/users", None),
    ("GET", "/v1/users/{own}", None),
    ("PATCH", "/v1/users/{own}", Some(r#"{"role":"admin"}"#)),
    ("GET", "/v1/spreads", None),
    ("GET", "/v1/spreads/*", None),
    ("PUT", "/v1/spreads/*", Some(r#"{"buy":{"value":"1"},"sell":{"value":"1"}}"#)),
    ("DELETE", "/v1/spreads/*", None),
    ("GET", "/v1/spreads/scheduled", None),
    ("GET", "/v1/spreads/scheduled/0", None),
    ("DELETE", "/v1/spreads/scheduled/0", None),
    ("GET", "/v1/spreads/*/history", None),
    ("POST", "/v1/spreads/*/preview", Some(r#"{"buy":{"value":"1"},"sell":{"value":"1"}}"#)),
    ("POST", "/v1/spreads/*/rollback", Some(r#"{"revision":1}"#)),
    ("POST", "/settings/update-rates", Some(r#"{"buy":1,"sell":1}"#)),
];

/// Fails unless the account is one without any rights, on every route that asks for some.
async fn has_no_rights(api: &Api, token: &str) {
    let me = api.authed(token, "GET", "/v1/me", None).await.json();
    assert_eq!((&me["role"], &me["disabled"]), (&json!("user"), &json!(false)));
    for (method, path, body) in ADMIN_ROUTES {
        let path = path.replace("{own}", me["id"].as_str().unwrap());
        let answer = api.authed(token, method, &path, *body).await;
        match path.as_str() {
            "/settings/update-rates" => drop(answer.envelope(401, "Unauthorized access")),
            _ => assert_eq!(answer.problem(403), "only an administrator may do this", "{method} {path}"),
        }
    }
    assert_eq!(api.authed(token, "GET", "/v1/me", None).await.json(), me);
}

fn with(name: &str, value: &Value) -> Value {
    let mut body = registration(USER, USER_PASSWORD);
    body[name] = value.clone();
    body
}

#[tokio::test]
async fn a_registration_takes_its_own_members_alone() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let nobody = async || api.login(USER, USER_PASSWORD).await.envelope(401, "Invalid credentials");
    for name in PRIVILEGES {
        for value in [json!("admin"), json!(true), json!(1), json!(null), json!(["admin"]), json!({ "role": "admin" })]
        {
            let body = with(name, &value);
            let faults = api.post("/register", &body).await.faults();
            assert!(faults.iter().all(|fault| fault.0 == "forbidden") && !faults.is_empty(), "{body}: {faults:?}");
        }
        let member = format!(r#"{{"{name}":"user","{name}":"admin","#);
        let twice = registration(USER, USER_PASSWORD).to_string().replacen('{', &member, 1);
        assert_eq!(api.post_text("/register", &twice).await.faults()[0].0, "json", "{twice}");
        let form = format!("firstName=Ann&lastName=Other&email={USER}&password={USER_PASSWORD}&{name}=admin");
        for kind in ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"] {
            let answer = api.call("POST", "/register", &[("content-type", kind)], form.clone()).await;
            answer.envelope(415, "The content type must be application/json");
        }
    }
    let escaped = registration(USER, USER_PASSWORD).to_string().replacen('{', r#"{"r\u006fle":"admin","#, 1);
    assert_eq!(api.post_text("/register", &escaped).await.faults()[0].0, "forbidden");
    nobody().await;

    // Other members are ignored as in the original, and no privilege hides in them, nor in the query.
    let mut body = registration(USER, USER_PASSWORD);
    for name in ["newsletter", "user", "account", "__proto__", "permissions", "role[]", "role.name"] {
        body[name] = json!({ "role": "admin", "isAdmin": true, "id": "1" });
    }
    api.post("/register?role=admin&isAdmin=true", &body).await.envelope(200, "Registered successfully");
    has_no_rights(&api, &api.token(USER, USER_PASSWORD).await).await;
    assert_eq!(api.authed(&admin, "GET", "/v1/spreads", None).await.status, 200);
}

/// The field that a change was refused for.
fn refused_for(answer: &Answer) -> Value {
    answer.problem(422);
    answer.json()["errors"][0]["field"].clone()
}

#[tokio::test]
async fn a_change_of_an_account_takes_its_own_members_alone() {
    let api = Api::start(GROUPS).await;
    let (admin, user) = (api.admin().await, api.user().await);
    let id = api.authed(&user, "GET", "/v1/me", None).await.json()["id"].as_str().unwrap().to_owned();
    let account = format!("/v1/users/{id}");
    for name in PRIVILEGES {
        for value in ["\"admin\"", "true", "null", r#"{"role":"admin"}"#] {
            let member = format!(r#""{name}":{value}"#);
            let own = format!(r#"{{"firstName":"Eve",{member}}}"#);
            let answer = api.authed(&user, "PATCH", "/v1/me", Some(&own)).await;
            assert_eq!(refused_for(&answer), json!(name), "{own}");
            let twice = format!("{{{member},{member}}}");
            for (token, path) in [(&user, "/v1/me"), (&admin, account.as_str())] {
                api.authed(token, "PATCH", path, Some(&twice)).await.problem(422);
            }
            if !["role", "disabled"].contains(name) {
                let change = format!(r#"{{"role":"admin",{member}}}"#);
                let answer = api.authed(&admin, "PATCH", &account, Some(&change)).await;
                assert_eq!(refused_for(&answer), json!(name), "{change}");
            }
        }
        for (token, path) in [(&user, "/v1/me"), (&admin, account.as_str())] {
            let bearer = format!("Bearer {token}");
            let form = [("authorization", bearer.as_str()), ("content-type", "application/x-www-form-urlencoded")];
            api.call("PATCH", path, &form, format!("{name}=admin")).await.problem(415);
        }
    }
    for nested in [r#"{"user":{"role":"admin"}}"#, r#"[{"role":"admin"}]"#, r#"{"role":{"role":"admin"}}"#] {
        for (token, path) in [(&user, "/v1/me"), (&admin, account.as_str())] {
            api.authed(token, "PATCH", path, Some(nested)).await.problem(422);
        }
    }
    assert_eq!(api.authed(&user, "GET", "/v1/me", None).await.json()["firstName"], json!("Ann"));
    has_no_rights(&api, &user).await;
}
