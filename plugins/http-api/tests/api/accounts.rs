use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use metrics_exporter_prometheus::PrometheusBuilder;
use ratebus_http_api::admin;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Api, USER, USER_PASSWORD, database, folder, plain, policy, registration};

const GROUPS: &[&str] = &["quotes", "accounts", "spreads"];

fn fault(rule: &str, field: &str, message: &str) -> (String, String, String) {
    (rule.to_owned(), field.to_owned(), message.to_owned())
}

#[tokio::test]
async fn registering_logging_in_and_out_as_in_the_original() {
    let api = Api::start(GROUPS).await;
    let registered = api.register("  Ann@Example.COM ", USER_PASSWORD).await;
    let data = registered.envelope(200, "Registered successfully");
    assert_eq!((&data["firstName"], &data["lastName"], &data["email"]), (&json!("Ann"), &json!("Other"), &json!(USER)));
    assert!(data["createdAt"].as_str().unwrap().ends_with('Z'));
    assert_eq!(data.as_object().unwrap().len(), 4);

    let answer = api.login("ANN@example.com", USER_PASSWORD).await;
    let data = answer.envelope(200, "You're loggedin");
    assert_eq!((&data["email"], &data["token"]["type"]), (&json!(USER), &json!("bearer")));
    assert!(data["token"]["expiresAt"].as_str().unwrap().ends_with('Z'));
    let token = data["token"]["token"].as_str().unwrap();

    assert_eq!(api.authed(token, "DELETE", "/logout", None).await.envelope(200, "You're now logged out!"), json!(null));
    api.authed(token, "DELETE", "/logout", None).await.envelope(400, "You're not loggedin");
    api.call("DELETE", "/logout", &[], "").await.envelope(400, "You're not loggedin");
    api.get("/logout").await.envelope(405, "Method not allowed");
}

#[tokio::test]
async fn every_missing_field_is_named_in_the_originals_words() {
    let api = Api::start(GROUPS).await;
    let required = [
        fault("required", "firstName", "The first name field is required"),
        fault("required", "lastName", "The last name field is required"),
        fault("required", "email", "The email field is required"),
        fault("required", "password", "The password field is required"),
        fault("required", "confirmPassword", "The confirm password field is required"),
    ];
    let empty = json!({ "firstName": "", "lastName": " ", "email": "", "password": "", "confirmPassword": "" });
    let null = json!({ "firstName": null, "lastName": null, "email": null, "password": null, "confirmPassword": null });
    for body in [json!({}), empty, null] {
        assert_eq!(api.post("/register", &body).await.faults(), required);
    }
    let login = api.post("/login", &json!({})).await;
    assert_eq!(
        login.faults(),
        [fault("required", "email", "Enter your email address"), fault("required", "password", "Enter your password")]
    );
    assert_eq!(
        api.login("ann", "1234567").await.faults(),
        [
            fault("email", "email", "Invalid email provided"),
            fault("minLength", "password", "Password must be at least 8 characters")
        ]
    );
}

#[tokio::test]
async fn wrong_fields_are_named_in_the_originals_words() {
    let api = Api::start(GROUPS).await;
    let with = |field: &str, value: Value| {
        let mut body = registration(USER, USER_PASSWORD);
        body[field] = value;
        body
    };
    let faults = async |body: &Value| api.post("/register", body).await.faults();
    assert_eq!(faults(&with("email", json!("nope"))).await, [fault("email", "email", "The email is invalid")]);
    assert_eq!(
        faults(&registration(USER, "1234567")).await,
        [fault("minLength", "password", "The password must not be less than 8 characters")]
    );
    assert_eq!(
        faults(&with("confirmPassword", json!("other password"))).await,
        [fault("confirmed", "confirmPassword", "The password did not match")]
    );
    assert_eq!(
        faults(&with("firstName", json!(5))).await,
        [fault("string", "firstName", "The firstName field must be a string")]
    );
    assert_eq!(faults(&registration(USER, &"x".repeat(257))).await[0].0, "maxLength");
    for guess in ["password", "PASSWORD1", "ratebus2026ratebus", "ann.Other", "ann@example.com"] {
        let common = fault("common", "password", "The password is too easy to guess");
        assert_eq!(faults(&registration(USER, guess)).await, [common], "{guess}");
    }
    assert_eq!(faults(&with("lastName", json!("x".repeat(101)))).await[0].0, "maxLength");

    assert_eq!(api.register(USER, USER_PASSWORD).await.status, 200);
    assert_eq!(
        faults(&registration("ANN@example.com", "another password")).await,
        [fault("unique", "email", "The email is already taken")]
    );
}

#[tokio::test]
async fn one_address_is_registered_once() {
    let api = Api::start(GROUPS).await;
    let spellings = ["ann@example.com", "Ann@example.com", "ANN@EXAMPLE.COM", " ann@Example.com"];
    let answers = join_all((0..50).map(|index| api.register(spellings[index % 4], USER_PASSWORD))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    // More than can wait for a hash at once are told to come back.
    for refused in answers.iter().filter(|answer| ![200, 503].contains(&answer.status)) {
        assert_eq!(refused.faults(), [fault("unique", "email", "The email is already taken")]);
    }
    assert!(answers.iter().any(|answer| answer.status == 422));
    let admin = api.admin().await;
    let accounts = api.authed(&admin, "GET", "/v1/users", None).await.json();
    assert_eq!(accounts["users"].as_array().unwrap().len(), 2, "one, and the administrator");
}

#[tokio::test]
async fn a_password_is_as_long_as_it_may_be_and_of_any_characters() {
    let api = Api::start(GROUPS).await;
    let long = |length: usize| "añ日😀 ".chars().cycle().take(length).collect::<String>();
    for (index, length) in [7, 8, 14, 15, 64, 256, 257].into_iter().enumerate() {
        let (email, password) = (format!("user{index}@example.com"), long(length));
        let answer = api.register(&email, &password).await;
        if (8..=256).contains(&length) {
            answer.envelope(200, "Registered successfully");
            api.login(&email, &password).await.envelope(200, "You're loggedin");
            assert_ne!(api.login(&email, &long(length - 1)).await.status, 200);
        } else {
            let rule = if length < 8 { "minLength" } else { "maxLength" };
            assert_eq!((answer.faults()[0].0.as_str(), answer.faults()[0].1.as_str()), (rule, "password"));
        }
    }
    let (create, url) = (admin::create_admin, database(&api.folder));
    assert!(create(&url, "a@example.com", long(14).into(), &policy()).await.is_err());
    create(&url, "a@example.com", long(15).into(), &policy()).await.unwrap();
    api.login("a@example.com", &long(15)).await.envelope(200, "You're loggedin");
    api.login("a@example.com", &format!(" {}", long(15))).await.envelope(401, "Invalid credentials");
}

#[tokio::test]
async fn unknown_and_wrong_are_one_answer() {
    let api = Api::start(GROUPS).await;
    api.register(USER, USER_PASSWORD).await;
    let unknown = api.login("nobody@example.com", USER_PASSWORD).await;
    let wrong = api.login(USER, "wrong password").await;
    unknown.envelope(401, "Invalid credentials");
    assert_eq!((unknown.status, &unknown.text, &unknown.headers), (wrong.status, &wrong.text, &wrong.headers));

    // No cut, no normalisation: each character counts.
    let long = "ü".repeat(200);
    api.register("long@example.com", &format!("{long}1")).await.envelope(200, "Registered successfully");
    api.login("long@example.com", &format!("{long}2")).await.envelope(401, "Invalid credentials");
    api.login("long@example.com", &format!("{long}1")).await.envelope(200, "You're loggedin");
    let composed = "caf\u{e9} with cream ";
    api.register("cafe@example.com", composed).await.envelope(200, "Registered successfully");
    api.login("cafe@example.com", "cafe\u{301} with cream ").await.envelope(401, "Invalid credentials");
    api.login("cafe@example.com", composed.trim()).await.envelope(401, "Invalid credentials");
}

#[tokio::test]
async fn a_hash_of_older_parameters_is_made_anew() {
    let api = Api::start(GROUPS).await;
    let session = api.user().await;
    let rows = api.rows().await;
    let stored = async || rows.texts("SELECT password_hash FROM users").await.remove(0);
    let today = "$argon2id$v=19$m=19456,t=2,p=1$";
    let first = stored().await;
    assert!(first.starts_with(today), "{first}");
    api.login(USER, USER_PASSWORD).await.envelope(200, "You're loggedin");
    assert_eq!(stored().await, first);

    let older = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 1, None).unwrap());
    let older = older.hash_password(USER_PASSWORD.as_bytes()).unwrap().to_string();
    rows.execute(&format!("UPDATE users SET password_hash = '{older}'")).await;
    api.login(USER, "wrong password").await.envelope(401, "Invalid credentials");
    assert_eq!(stored().await, older);
    api.login(USER, USER_PASSWORD).await.envelope(200, "You're loggedin");
    assert!(stored().await.starts_with(today));
    api.login(USER, USER_PASSWORD).await.envelope(200, "You're loggedin");
    api.authed(&session, "DELETE", "/logout", None).await.envelope(200, "You're now logged out!");
}

#[tokio::test]
async fn an_address_without_an_account_costs_what_one_with_an_account_does() {
    let api = Api::start(GROUPS).await;
    let recorder = PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let hashes = || {
        let metrics = recorder.handle().render();
        let line = metrics.lines().find_map(|line| line.strip_prefix("ratebus_password_hashes_total "));
        line.map_or(0, |number| number.parse().unwrap())
    };
    let unknown = "nobody@example.com";
    assert_eq!((api.register(USER, USER_PASSWORD).await.status, hashes()), (200, 1));
    assert_eq!((api.register(USER, USER_PASSWORD).await.status, hashes()), (422, 2));
    assert_eq!((api.login(USER, "wrong password").await.status, hashes()), (401, 3));
    assert_eq!((api.login(unknown, "wrong password").await.status, hashes()), (401, 4));
    let v1 = json!({ "email": unknown, "password": "wrong password" });
    assert_eq!((api.post("/v1/auth/login", &v1).await.status, hashes()), (401, 5));
}

#[tokio::test]
async fn another_cost_in_the_config_is_that_of_the_next_login() {
    let folder = folder();
    let api = Api::start_with(GROUPS, &json!({}), &plain(), &folder).await;
    let session = api.user().await;
    api.stop().await.unwrap();
    let stronger = json!({ "password_hash": { "memory_kib": 65_536, "iterations": 3, "lanes": 4 } });
    let api = Api::start_with(GROUPS, &stronger, &plain(), &folder).await;
    let rows = api.rows().await;
    let cost = async || {
        let hash = rows.texts("SELECT password_hash FROM users").await.remove(0);
        hash.split('$').nth(3).unwrap().to_owned()
    };
    assert_eq!(cost().await, "m=19456,t=2,p=1");
    api.login(USER, "wrong password").await.envelope(401, "Invalid credentials");
    assert_eq!(cost().await, "m=19456,t=2,p=1");
    api.login(USER, USER_PASSWORD).await.envelope(200, "You're loggedin");
    assert_eq!(cost().await, "m=65536,t=3,p=4");
    assert_eq!(api.authed(&session, "GET", "/v1/me", None).await.status, 200);
    api.login(USER, USER_PASSWORD).await.envelope(200, "You're loggedin");
}

#[tokio::test]
async fn bodies_are_json_short_and_whole() {
    let api = Api::start(GROUPS).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for headers in [&form[..], &[("content-type", "text/plain")], &[]] {
        let answer = api.call("POST", "/register", headers, "email=a").await;
        answer.envelope(415, "The content type must be application/json");
    }
    let utf8 = [("content-type", "Application/JSON; charset=utf-8")];
    assert_eq!(api.call("POST", "/login", &utf8, "{}").await.status, 422);

    let long = json!({ "email": "x".repeat(17_000) });
    api.post("/login", &long).await.envelope(413, "The body must not be longer than 16 KiB");
    for broken in ["", "{", "[]", "null", "{\"email\":}", "{\"email\":\"a\",\"email\":\"a\"}", "{\"a\":NaN}"] {
        assert_eq!(api.post_text("/login", broken).await.faults()[0].0, "json", "{broken}");
    }
    let deep = format!("{{\"email\":{}1{}}}", "[".repeat(7000), "]".repeat(7000));
    assert_eq!(
        api.post_text("/login", &deep).await.faults()[0],
        fault("string", "email", "The email field must be a string")
    );
}

#[tokio::test]
async fn texts_are_never_sql() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let evil = "x'); DROP TABLE users; --";
    let mut body = registration(USER, "'; DELETE FROM spreads; --");
    body["firstName"] = json!(evil);
    assert_eq!(api.post("/register", &body).await.envelope(200, "Registered successfully")["firstName"], json!(evil));
    api.login("' OR 1=1 --@example.com", "12345678").await.faults();
    api.login(USER, "'; DELETE FROM spreads; --").await.envelope(200, "You're loggedin");
    assert_eq!(api.authed(&admin, "GET", "/v1/spreads/'%20OR%201=1", None).await.status, 404);
    api.login(ADMIN, crate::harness::ADMIN_PASSWORD).await.envelope(200, "You're loggedin");
}

/// All at once, in one task.
pub(crate) async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, output) in futures.iter_mut().zip(&mut outputs).filter(|(_, output)| output.is_none()) {
            if let std::task::Poll::Ready(ready) = future.as_mut().poll(cx) {
                *output = Some(ready);
            }
        }
        if outputs.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
