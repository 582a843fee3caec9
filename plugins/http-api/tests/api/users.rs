//! One's own account, and everybody's for administrators.

use std::collections::BTreeSet;

use ratebus_http_api::{PasswordPolicy, admin};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    accounts::join_all,
    harness::{ADMIN, ADMIN_PASSWORD, Answer, Api, USER, USER_PASSWORD, database, folder, plain, policy},
};

const GROUPS: &[&str] = &["accounts", "spreads"];
const SECOND: &str = "second@example.com";

async fn id(api: &Api, token: &str) -> String {
    let me = api.authed(token, "GET", "/v1/me", None).await.json();
    me["id"].as_str().unwrap().to_owned()
}

async fn patch(api: &Api, token: &str, id: &str, change: Value) -> Answer {
    api.authed(token, "PATCH", &format!("/v1/users/{id}"), Some(&change.to_string())).await
}

async fn change_password(api: &Api, token: &str, current: &str, new: &str) -> Answer {
    let body = json!({ "currentPassword": current, "newPassword": new }).to_string();
    api.authed(token, "POST", "/v1/me/password", Some(&body)).await
}

#[tokio::test]
async fn ones_own_account_is_read_and_renamed() {
    let api = Api::start(GROUPS).await;
    let user = api.user().await;
    let me = api.authed(&user, "GET", "/v1/me", None).await.json();
    let names: Vec<&String> = me.as_object().unwrap().keys().collect();
    assert_eq!(names, ["createdAt", "disabled", "email", "firstName", "id", "lastName", "role"]);
    assert_eq!((&me["email"], &me["role"], &me["disabled"]), (&json!(USER), &json!("user"), &json!(false)));
    assert_eq!((&me["firstName"], &me["lastName"]), (&json!("Ann"), &json!("Other")));
    assert!(me["createdAt"].as_str().unwrap().ends_with('Z'));

    let rename = async |body: Value| api.authed(&user, "PATCH", "/v1/me", Some(&body.to_string())).await;
    let renamed = rename(json!({ "firstName": "  Änn " })).await.json();
    assert_eq!((&renamed["firstName"], &renamed["lastName"]), (&json!("Änn"), &json!("Other")));
    let renamed = rename(json!({ "firstName": "A", "lastName": "B'); DROP TABLE users; --" })).await.json();
    assert_eq!(renamed, api.authed(&user, "GET", "/v1/me", None).await.json());

    for (body, field) in [
        (json!({ "firstName": "C", "role": "admin" }), "role"),
        (json!({ "firstName": "C", "disabled": false }), "disabled"),
        (json!({ "firstName": "C", "email": "c@example.com" }), "email"),
        (json!({ "firstName": "C", "password": "correct horse" }), "password"),
        (json!({ "firstName": "C", "firstname": "C" }), "firstname"),
        (json!({ "firstName": "C", "lastName": null }), "lastName"),
        (json!({ "firstName": " " }), "firstName"),
        (json!({ "firstName": 5 }), "firstName"),
        (json!({ "firstName": "x".repeat(101) }), "firstName"),
        (json!({ "firstName": "a\u{7}" }), "firstName"),
    ] {
        let answer = rename(body).await;
        answer.problem(422);
        assert_eq!(answer.json()["errors"][0]["field"], json!(field), "{answer:?}");
    }
    api.authed(&user, "PATCH", "/v1/me", Some(r#"{"firstName":"C","firstName":"D"}"#)).await.problem(422);
    assert_eq!(renamed, api.authed(&user, "GET", "/v1/me", None).await.json());
}

#[tokio::test]
async fn a_new_password_ends_every_other_session() {
    let api = Api::start(GROUPS).await;
    let (admin, mine) = (api.admin().await, api.user().await);
    let stolen = api.token(USER, USER_PASSWORD).await;
    let me = async |token: &str| api.authed(token, "GET", "/v1/me", None).await.status;

    let wrong = change_password(&api, &mine, "wrong password", "another fine password").await;
    assert_eq!(wrong.problem(422), "currentPassword: is not the password of this account");
    assert_eq!((me(&mine).await, me(&stolen).await), (200, 200));

    let new = "another fine password";
    let changed = change_password(&api, &mine, USER_PASSWORD, new).await;
    assert_eq!((changed.status, changed.text.as_str()), (204, ""));
    assert_eq!((me(&mine).await, me(&stolen).await, me(&admin).await), (200, 401, 200));
    api.login(USER, USER_PASSWORD).await.envelope(401, "Invalid credentials");
    api.login(USER, new).await.envelope(200, "You're loggedin");
}

#[tokio::test]
async fn a_new_password_obeys_the_rules_of_registration() {
    let api = Api::start(GROUPS).await;
    let (admin, user) = (api.admin().await, api.user().await);
    for (new, message) in [
        ("1234567", "The password must not be less than 8 characters"),
        (&*"x".repeat(257), "The password must not be more than 256 characters"),
        ("with\u{7} a bell", "The password must not contain control characters"),
        ("password", "The password is too easy to guess"),
        ("Ann.Other1", "The password is too easy to guess"),
        ("ann@example.com", "The password is too easy to guess"),
    ] {
        let answer = change_password(&api, &user, USER_PASSWORD, new).await;
        assert_eq!(answer.problem(422), format!("newPassword: {message}"));
    }
    let short = change_password(&api, &admin, ADMIN_PASSWORD, "14 characters!").await;
    assert_eq!(short.problem(422), "newPassword: The password must not be less than 15 characters");
    assert_eq!(change_password(&api, &user, USER_PASSWORD, "14 characters!").await.status, 204);

    for (body, field) in [
        (json!({}), "currentPassword"),
        (json!({ "currentPassword": "14 characters!" }), "newPassword"),
        (json!({ "currentPassword": 5, "newPassword": "another fine password" }), "currentPassword"),
        (json!({ "currentPassword": "14 characters!", "newPassword": "x", "role": "admin" }), "role"),
    ] {
        let answer = api.authed(&user, "POST", "/v1/me/password", Some(&body.to_string())).await;
        answer.problem(422);
        assert_eq!(answer.json()["errors"][0]["field"], json!(field), "{answer:?}");
    }
}

#[tokio::test]
async fn of_two_new_passwords_at_once_one_is_taken() {
    let api = Api::start(GROUPS).await;
    let token = api.user().await;
    let passwords = ["another fine password", "yet another password"];
    let answers = join_all(passwords.map(|new| change_password(&api, &token, USER_PASSWORD, new))).await;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let winner = statuses.iter().position(|status| *status == 204).unwrap();
    assert!([409, 422].contains(&statuses[1 - winner]), "{statuses:?}");
    api.login(USER, passwords[winner]).await.envelope(200, "You're loggedin");
    api.login(USER, passwords[1 - winner]).await.envelope(401, "Invalid credentials");
}

#[tokio::test]
async fn promoting_demoting_disabling_and_enabling_take_effect_at_once() {
    let api = Api::start(GROUPS).await;
    let (admin, user) = (api.admin().await, api.user().await);
    let ann = id(&api, &user).await;
    let spreads = async |token: &str| api.authed(token, "GET", "/v1/spreads", None).await.status;
    assert_eq!(spreads(&user).await, 403);

    // A password too short for a new administrator's is no obstacle: see the contract.
    let promoted = patch(&api, &admin, &ann, json!({ "role": "admin" })).await.json();
    assert_eq!(
        (&promoted["id"], &promoted["role"], &promoted["disabled"]),
        (&json!(ann), &json!("admin"), &json!(false))
    );
    assert_eq!(promoted, api.authed(&admin, "GET", &format!("/v1/users/{ann}"), None).await.json());
    assert_eq!(spreads(&user).await, 200);
    assert_eq!(patch(&api, &admin, &ann, json!({ "role": "user" })).await.status, 200);
    assert_eq!(spreads(&user).await, 403);

    assert_eq!(patch(&api, &admin, &ann, json!({ "disabled": true })).await.json()["disabled"], json!(true));
    assert_eq!(spreads(&user).await, 401);
    api.login(USER, USER_PASSWORD).await.envelope(401, "Invalid credentials");
    assert_eq!(patch(&api, &admin, &ann, json!({ "disabled": false, "role": "user" })).await.status, 200);
    // Its sessions ended for good.
    assert_eq!(spreads(&user).await, 401);
    assert_eq!(spreads(&api.token(USER, USER_PASSWORD).await).await, 403);

    for (body, field) in [
        (json!({ "role": "root" }), "role"),
        (json!({ "role": null }), "role"),
        (json!({ "role": "admin", "disabled": "no" }), "disabled"),
        (json!({ "role": "admin", "disabled": 0 }), "disabled"),
        (json!({ "role": "admin", "email": "x@example.com" }), "email"),
        (json!({ "role": "admin", "password": "x" }), "password"),
    ] {
        let answer = patch(&api, &admin, &ann, body).await;
        answer.problem(422);
        assert_eq!(answer.json()["errors"][0]["field"], json!(field), "{answer:?}");
    }
    assert_eq!(spreads(&api.token(USER, USER_PASSWORD).await).await, 403);
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let own = id(&api, &admin).await;
    admin::create_admin(&database(&api.folder), SECOND, ADMIN_PASSWORD.into(), &policy()).await.unwrap();
    let second = id(&api, &api.token(SECOND, ADMIN_PASSWORD).await).await;
    // One who is disabled does not count.
    assert_eq!(patch(&api, &admin, &second, json!({ "disabled": true })).await.status, 200);
    for change in [json!({ "role": "user" }), json!({ "disabled": true }), json!({ "role": "user", "disabled": true })]
    {
        let detail = patch(&api, &admin, &own, change).await.problem(409);
        assert_eq!(detail, "the last enabled administrator can be neither demoted nor disabled");
    }
    assert_eq!(patch(&api, &admin, &own, json!({ "role": "admin", "disabled": false })).await.status, 200);
    assert_eq!(patch(&api, &admin, &second, json!({ "role": "user" })).await.status, 200);
    assert_eq!(api.authed(&admin, "GET", "/v1/spreads", None).await.status, 200);
}

/// Two instances on one database, so that nothing but the database can tell who is the last.
#[tokio::test]
async fn administrators_who_remove_each_other_do_not_both_succeed() {
    let folder = folder();
    let one = Api::start_with(GROUPS, &json!({}), &plain(), &folder).await;
    let two = Api::start_with(GROUPS, &json!({}), &plain(), &folder).await;
    let first = one.admin().await;
    admin::create_admin(&database(&folder), SECOND, ADMIN_PASSWORD.into(), &policy()).await.unwrap();
    let second = two.token(SECOND, ADMIN_PASSWORD).await;
    let (first_id, second_id) = (id(&one, &first).await, id(&two, &second).await);
    let database = one.rows().await;
    for change in [json!({ "role": "user" }), json!({ "role": "user" }), json!({ "disabled": true })] {
        for _ in 0..4 {
            let ways = [(&one, &first, &second_id), (&two, &second, &first_id), (&two, &first, &first_id)];
            let answers = join_all(ways.map(|(api, token, id)| patch(api, token, id, change.clone()))).await;
            let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
            assert!(statuses.iter().all(|status| [200, 401, 403, 409].contains(status)), "{statuses:?}");
            let left = "SELECT COUNT(*) FROM users WHERE role = 'admin' AND disabled = 0";
            assert_eq!(database.count(left).await, 1, "{statuses:?}");
            if change.get("role").is_none() {
                return;
            }
            database.execute("UPDATE users SET role = 'admin'").await;
        }
    }
}

/// No kind of database is asked for what it cannot store: Postgres takes no NUL.
#[tokio::test]
async fn text_that_a_database_could_not_take_is_nobodys() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let change = Some(r#"{"disabled":true}"#);
    for id in ["%00", "a%00b", "%F0%9F%92%B8", &"x".repeat(5000)] {
        let path = format!("/v1/users/{id}");
        for (method, body) in [("GET", None), ("PATCH", change)] {
            let status = api.authed(&admin, method, &path, body).await.status;
            assert!([404, 422].contains(&status), "{method} {path:.20}: {status}");
        }
        let status = api.authed(&admin, "GET", &format!("/v1/users?after={id}"), None).await.status;
        assert!(status == 200 || status == 422, "after {id:.20}: {status}");
    }
    for bad in ["a\0@example.com", "\0"] {
        assert!([401, 422].contains(&api.login(bad, USER_PASSWORD).await.status));
        assert_eq!(api.register(bad, USER_PASSWORD).await.status, 422);
    }
    let renamed = api.authed(&admin, "PATCH", "/v1/me", Some(r#"{"firstName":"a\u0000"}"#)).await;
    assert_eq!(renamed.status, 422);
}

#[tokio::test]
async fn pages_are_complete_while_accounts_are_made() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let database = api.rows().await;
    let mut made = vec![id(&api, &admin).await];
    for number in 0..24 {
        let user = Uuid::now_v7().to_string();
        let insert = format!(
            "INSERT INTO users (id, email, first_name, last_name, password_hash, role, created_at) \
             VALUES ('{user}', 'user{number}@example.com', 'A', 'B', '', 'user', 0)"
        );
        database.execute(&insert).await;
        made.push(user);
    }
    let page = async |query: &str| api.authed(&admin, "GET", &format!("/v1/users{query}"), None).await;

    let (mut listed, mut query) = (Vec::new(), "?limit=10".to_owned());
    for newcomer in 0.. {
        let answer = page(&query).await.json();
        let users = answer["users"].as_array().unwrap();
        listed.extend(users.iter().map(|user| user["id"].as_str().unwrap().to_owned()));
        let Some(next) = answer["next"].as_str() else { break };
        assert_eq!(users.len(), 10);
        query = format!("?limit=10&after={next}");
        assert_eq!(api.register(&format!("new{newcomer}@example.com"), USER_PASSWORD).await.status, 200);
    }
    assert_eq!(listed[..made.len()], made);
    assert_eq!(listed.len(), made.len() + 2, "those made meanwhile are on the last page");
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len());

    let all = page("").await.json();
    assert_eq!((all["users"].as_array().unwrap().len(), &all["next"]), (27, &json!(null)));
    let whole = page("?limit=27").await.json();
    assert_eq!((whole["users"].as_array().unwrap().len(), &whole["next"]), (27, &json!(null)));
    assert!(!all.to_string().contains("hash"));
    assert_eq!(page(&format!("?limit=200&after={}", listed[26])).await.json(), json!({ "users": [], "next": null }));
    for query in
        ["limit=0", "limit=201", "limit=-1", "limit=ten", "limit=", "after=", "after=x", "page=2", "limit=1&limit=2"]
    {
        page(&format!("?{query}")).await.problem(422);
    }
}

#[tokio::test]
async fn an_operator_promotes_and_resets_at_the_command_line() {
    let api = Api::start(GROUPS).await;
    let url = database(&api.folder);
    let user = api.user().await;
    let spreads = async |token: &str| api.authed(token, "GET", "/v1/spreads", None).await.status;
    admin::promote(&url, " Ann@Example.com").await.unwrap();
    assert_eq!(spreads(&user).await, 200);
    admin::promote(&url, USER).await.unwrap();

    let refused = async |email: &str, password: &str| {
        admin::reset_password(&url, email, password.into(), &policy()).await.unwrap_err().to_string()
    };
    assert_eq!(refused(USER, "14 characters!").await, "The password must not be less than 15 characters");
    assert_eq!(refused(USER, "ann other ann@example.com").await, "The password is too easy to guess");
    assert_eq!(refused(ADMIN, ADMIN_PASSWORD).await, "admin@example.com has no account");
    assert_eq!(spreads(&user).await, 200);
    admin::reset_password(&url, USER, ADMIN_PASSWORD.into(), &policy()).await.unwrap();
    assert_eq!(spreads(&user).await, 401);
    api.login(USER, USER_PASSWORD).await.envelope(401, "Invalid credentials");
    assert_eq!(spreads(&api.token(USER, ADMIN_PASSWORD).await).await, 200);

    api.rows().await.execute("UPDATE users SET disabled = 1, role = 'user'").await;
    let error = admin::promote(&url, USER).await.unwrap_err().to_string();
    assert!(error.contains("is disabled"), "{error}");
    assert_eq!(admin::promote(&url, ADMIN).await.unwrap_err().to_string(), "admin@example.com has no account");
}

#[tokio::test]
async fn how_long_an_administrators_password_is_the_config_says() {
    let api = Api::start_with(GROUPS, &json!({ "min_admin_password": 20 }), &plain(), &folder()).await;
    let (admin, user) = (api.admin().await, api.user().await);
    let short = "19 characters, no 20";
    let short = &short[..19];
    let refused = change_password(&api, &admin, ADMIN_PASSWORD, short).await;
    assert_eq!(refused.problem(422), "newPassword: The password must not be less than 20 characters");
    assert_eq!(change_password(&api, &user, USER_PASSWORD, short).await.status, 204);
    // Promoting asks nothing of the password there is.
    let ann = id(&api, &user).await;
    assert_eq!(patch(&api, &admin, &ann, json!({ "role": "admin" })).await.status, 200);
    change_password(&api, &user, short, "another 18 letters").await.problem(422);

    let config = json!({ "listener": "http", "routes": GROUPS, "min_admin_password": 20 });
    let policy = PasswordPolicy::of(&serde_json::from_value(config).unwrap()).unwrap();
    let url = database(&api.folder);
    for made in [
        admin::create_admin(&url, SECOND, short.into(), &policy).await,
        admin::reset_password(&url, USER, short.into(), &policy).await,
    ] {
        assert_eq!(made.unwrap_err().to_string(), "The password must not be less than 20 characters");
    }
}
