//! Spreads that take effect at a later time.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use ratebus_http_api::admin;
use ratebus_sdk::{
    model::{Payload, Spread, Subject, Timestamp},
    testkit::eventually,
};
use serde_json::{Value, json};

use crate::{
    accounts::join_all,
    harness::{ADMIN, ADMIN_PASSWORD, Answer, Api, DEADLINE, database, folder, parse, plain, policy},
};

const GROUPS: &[&str] = &["quotes", "accounts", "spreads"];
const PATH: &str = "/v1/spreads/BTC_USD";
const SCHEDULED: &str = "/v1/spreads/scheduled";
/// So soon that a test can wait for it, and so late that it is not over before it has begun.
const SOON: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_hours(1);

fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

fn change(value: &str, from: Timestamp) -> Value {
    let side = json!({ "unit": "absolute", "value": value });
    json!({ "buy": side, "sell": side, "reason": format!("why {value}"), "effectiveFrom": from })
}

async fn put(api: &Api, token: &str, path: &str, body: &Value) -> Answer {
    api.authed(token, "PUT", path, Some(&body.to_string())).await
}

/// The change to come that was made.
async fn schedule(api: &Api, token: &str, value: &str, from: Timestamp) -> Value {
    let answer = put(api, token, PATH, &change(value, from)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let made = answer.json();
    assert_eq!(answer.header("location"), format!("{SCHEDULED}/{}", made["id"].as_str().unwrap()));
    made
}

async fn get(api: &Api, token: &str, path: &str) -> Value {
    let answer = api.authed(token, "GET", path, None).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

/// The ids of the changes to come.
async fn to_come(api: &Api, token: &str) -> Vec<Value> {
    let list = get(api, token, SCHEDULED).await;
    list["scheduled"].as_array().unwrap().iter().map(|change| change["id"].clone()).collect()
}

/// Waits until the bus has been told of this revision.
async fn published(api: &Api, revision: u64) -> Arc<Spread> {
    let subject = Subject::spread(parse("BTC_USD"));
    let is_it = |spread: &Spread| spread.revision == revision;
    let message = api.host.wait_for(
        |message| message.subject == subject && matches!(&message.payload, Payload::Spread(spread) if is_it(spread)),
        DEADLINE,
    );
    match &message.await.payload {
        Payload::Spread(spread) => Arc::clone(spread),
        other => panic!("{other:?}"),
    }
}

/// Revision, actor, markup to buy, reason and request of every change, oldest first.
async fn history(api: &Api, token: &str) -> Vec<Value> {
    let changes = get(api, token, &format!("{PATH}/history?limit=200")).await["changes"].clone();
    let part = |change: &Value| {
        let names = ["revision", "actor", "reason", "requestId"].map(|name| change[name].clone());
        json!([names, change["new"]["buy"]["value"]])
    };
    changes.as_array().unwrap().iter().rev().map(part).collect()
}

#[tokio::test]
async fn a_change_waits_for_its_time() {
    let api = Api::start(GROUPS).await;
    api.quote("BTC_USD", "20000", "20001", None);
    let admin = api.admin().await;
    let from = now().plus(SOON);
    let made = schedule(&api, &admin, "5", from).await;
    let side = json!({ "unit": "absolute", "value": "5" });
    let expected = json!({ "id": made["id"], "scope": "BTC_USD", "buy": side, "sell": side, "effectiveFrom": from,
        "scheduledBy": ADMIN, "scheduledAt": made["scheduledAt"], "reason": "why 5", "baseRevision": null,
        "state": "pending", "revision": null, "cancelledBy": null, "settledAt": null });
    assert_eq!(made, expected);
    assert!(time(&made["scheduledAt"]) < from);

    let spread = published(&api, 1).await;
    assert!(spread.updated_at >= from, "{spread:?}");
    assert_eq!((spread.updated_by.as_str(), api.published_spreads().len()), (ADMIN, 1));
    let set = get(&api, &admin, PATH).await;
    assert_eq!((&set["buy"], &set["revision"], &set["updatedBy"]), (&side, &json!(1), &json!(ADMIN)));
    assert_eq!(history(&api, &admin).await, [json!([[1, ADMIN, "why 5", "test-1"], "5"])]);
    assert_eq!(to_come(&api, &admin).await, [] as [Value; 0]);
    let settled = get(&api, &admin, &format!("{SCHEDULED}/{}", made["id"].as_str().unwrap())).await;
    let applied = json!({ "state": "applied", "revision": 1, "cancelledBy": null, "settledAt": spread.updated_at });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&settled[name], applied.get(name).unwrap_or(value), "{name}");
    }
}

#[tokio::test]
async fn a_time_that_has_passed_is_at_once_and_one_too_far_is_refused() {
    let api = Api::start(GROUPS).await;
    api.quote("BTC_USD", "20000", "20001", None);
    let admin = api.admin().await;
    for (value, status) in [("1", 201), ("2", 200)] {
        let answer = put(&api, &admin, PATH, &change(value, parse("2020-02-29T23:59:59.5+14:00"))).await;
        assert_eq!((answer.status, &answer.json()["buy"]["value"]), (status, &json!(value)));
    }
    let day = Duration::from_hours(24);
    for wrong in [
        json!("tomorrow"),
        json!("2027-01-01"),
        json!("2027-01-01 00:00:00"),
        json!(1_800_000_000),
        json!(null),
        json!(now().plus(366 * day)),
        json!("9999-12-31T23:59:59Z"),
    ] {
        let mut body = change("3", now());
        body["effectiveFrom"] = wrong;
        for (method, path) in [("PUT", PATH), ("POST", "/v1/spreads/BTC_USD/preview")] {
            let answer = api.authed(&admin, method, path, Some(&body.to_string())).await;
            answer.problem(422);
            assert_eq!(answer.json()["errors"][0]["field"], json!("effectiveFrom"), "{body}");
        }
        let back = json!({ "revision": 1, "effectiveFrom": body["effectiveFrom"] }).to_string();
        api.authed(&admin, "POST", "/v1/spreads/BTC_USD/rollback", Some(&back)).await.problem(422);
    }
    schedule(&api, &admin, "3", now().plus(364 * day)).await;
    // A preview is at the prices of now, whenever the change is to come.
    let preview = async |body: &Value| {
        api.authed(&admin, "POST", "/v1/spreads/BTC_USD/preview", Some(&body.to_string())).await.json()
    };
    let later = change("3", now().plus(HOUR));
    let mut at_once = later.clone();
    at_once.as_object_mut().unwrap().remove("effectiveFrom");
    assert_eq!(preview(&later).await, preview(&at_once).await);
    assert_eq!(history(&api, &admin).await.len(), 2);
}

#[tokio::test]
async fn a_change_is_judged_when_it_is_made() {
    let api = Api::start(GROUPS).await;
    api.quote("BTC_USD", "20000", "20001", None);
    let admin = api.admin().await;
    let later = now().plus(HOUR);
    let body = change("1", later).to_string();
    let conditional =
        async |name: &str, tag: &str| api.conditional(&admin, "PUT", PATH, Some(&body), &[(name, tag)]).await.status;
    assert_eq!(conditional("if-match", "*").await, 412);
    assert_eq!(conditional("if-none-match", "*").await, 202);
    assert_eq!(
        put(&api, &admin, PATH, &json!({ "buy": { "value": "1" }, "sell": { "value": "1" } })).await.status,
        201
    );
    assert_eq!(conditional("if-none-match", "*").await, 412);
    assert_eq!(conditional("if-match", "\"2\"").await, 412);
    assert_eq!(conditional("if-match", "\"1\"").await, 202);
    let bases = get(&api, &admin, SCHEDULED).await;
    let bases = bases["scheduled"].as_array().unwrap().iter().map(|change| change["baseRevision"].clone());
    assert_eq!(bases.collect::<Vec<_>>(), [json!(null), json!(1)]);

    put(&api, &admin, PATH, &change("-20000", later)).await.problem(422);
    put(&api, &admin, PATH, &change("19999", later)).await.problem(422);
    put(&api, &admin, "/v1/spreads/LTC_USD", &change("1", later)).await.problem(404);
    let rollback = async |revision: u64| {
        let body = json!({ "revision": revision, "effectiveFrom": later, "reason": "back" }).to_string();
        api.authed(&admin, "POST", "/v1/spreads/BTC_USD/rollback", Some(&body)).await
    };
    rollback(2).await.problem(404);
    let back = rollback(1).await;
    assert_eq!((back.status, &back.json()["buy"]["value"], &back.json()["reason"]), (202, &json!("1"), &json!("back")));
    assert_eq!(api.authed(&admin, "DELETE", PATH, None).await.status, 204);
    let removal = rollback(2).await;
    removal.problem(409);
    assert_eq!(put(&api, &admin, PATH, &change("2", now())).await.status, 201);
    let removal = rollback(2).await;
    assert_eq!((removal.status, &removal.json()["buy"], &removal.json()["sell"]), (202, &json!(null), &json!(null)));
    assert_eq!(to_come(&api, &admin).await.len(), 4);
    assert_eq!(history(&api, &admin).await.len(), 3);
}

#[tokio::test]
async fn a_change_at_once_leaves_what_is_to_come() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let from = now().plus(SOON);
    // Made in another order than they come.
    let removal = json!({ "revision": 2, "effectiveFrom": from.plus(Duration::from_millis(2)) }).to_string();
    schedule(&api, &admin, "6", from.plus(Duration::from_millis(1))).await;
    schedule(&api, &admin, "5", from).await;
    assert_eq!(put(&api, &admin, PATH, &change("7", now())).await.status, 201);
    assert_eq!(api.authed(&admin, "DELETE", PATH, None).await.status, 204);
    assert_eq!(put(&api, &admin, PATH, &change("8", now())).await.status, 201);
    assert_eq!(api.authed(&admin, "POST", "/v1/spreads/BTC_USD/rollback", Some(&removal)).await.status, 202);
    assert_eq!(published(&api, 6).await.rule, None);
    let values: Vec<Value> = history(&api, &admin).await.iter().map(|change| change[1].clone()).collect();
    assert_eq!(values, [json!("7"), json!(null), json!("8"), json!("5"), json!("6"), json!(null)]);
    assert_eq!(api.authed(&admin, "GET", PATH, None).await.status, 404);
}

#[tokio::test]
async fn a_change_to_come_can_be_cancelled_and_is_kept() {
    let api = Api::start(GROUPS).await;
    let (admin, user) = (api.admin().await, api.user().await);
    let kept = schedule(&api, &admin, "1", now().plus(2 * HOUR)).await;
    let next = schedule(&api, &admin, "2", now().plus(HOUR)).await;
    assert_eq!(to_come(&api, &admin).await, [next["id"].clone(), kept["id"].clone()]);
    let path = format!("{SCHEDULED}/{}", next["id"].as_str().unwrap());
    api.authed(&user, "DELETE", &path, None).await.problem(403);
    let cancelled = api.authed(&admin, "DELETE", &path, None).await;
    assert_eq!((cancelled.status, cancelled.text.as_str()), (204, ""));
    assert_eq!(to_come(&api, &admin).await, [kept["id"].clone()]);
    let settled = get(&api, &admin, &path).await;
    assert_eq!((&settled["state"], &settled["cancelledBy"]), (&json!("cancelled"), &json!(ADMIN)));
    assert!(time(&settled["settledAt"]) >= time(&settled["scheduledAt"]));
    let again = api.authed(&admin, "DELETE", &path, None).await.problem(409);
    assert_eq!(again, "the change was applied or cancelled before");
    assert_eq!(get(&api, &admin, &path).await, settled);
    for id in ["0197a1b2-0000-7000-8000-000000000000", "x", "%00", "'%20OR%201=1"] {
        api.authed(&admin, "DELETE", &format!("{SCHEDULED}/{id}"), None).await.problem(404);
        api.authed(&admin, "GET", &format!("{SCHEDULED}/{id}"), None).await.problem(404);
    }
}

#[tokio::test]
async fn a_scope_has_so_many_changes_to_come_at_most() {
    let api = Api::start(GROUPS).await;
    api.quote("ETH_USD", "2000", "2001", None);
    let admin = api.admin().await;
    let first = schedule(&api, &admin, "1", now().plus(HOUR)).await;
    for _ in 1..100 {
        schedule(&api, &admin, "1", now().plus(HOUR)).await;
    }
    let full = put(&api, &admin, PATH, &change("1", now().plus(HOUR))).await;
    assert_eq!(full.problem(409), "100 changes of BTC_USD are to come already");
    let back = json!({ "buy": { "value": "1" }, "sell": { "value": "1" } });
    assert_eq!(put(&api, &admin, PATH, &back).await.status, 201, "what is at once does not count");
    assert_eq!(put(&api, &admin, "/v1/spreads/ETH_USD", &change("1", now().plus(HOUR))).await.status, 202);
    let path = format!("{SCHEDULED}/{}", first["id"].as_str().unwrap());
    assert_eq!(api.authed(&admin, "DELETE", &path, None).await.status, 204);
    schedule(&api, &admin, "1", now().plus(HOUR)).await;
}

/// Two instances on one database look for what is due at the same time.
#[tokio::test]
async fn each_change_comes_once_however_many_instances_there_are() {
    let folder = folder();
    let one = Api::start_with(GROUPS, &json!({}), &plain(), &folder).await;
    let two = Api::start_with(GROUPS, &json!({}), &plain(), &folder).await;
    let admin = one.admin().await;
    let from = now().plus(SOON);
    let numbers = 1..=20;
    let bodies: Vec<Value> = numbers.clone().map(|number| change(&number.to_string(), from)).collect();
    let instances = [&one, &two].into_iter().cycle();
    let answers = join_all(instances.zip(&bodies).map(|(api, body)| put(api, &admin, PATH, body))).await;
    assert!(answers.iter().all(|answer| answer.status == 202), "{answers:?}");
    let told = |api: &Api| api.published_spreads().iter().map(|spread| spread.revision).collect::<Vec<_>>();
    let all_told = || [&one, &two].iter().flat_map(|api| told(api)).collect::<BTreeSet<_>>();
    eventually("all have come", DEADLINE, || all_told().len() >= 20).await;
    assert_eq!(to_come(&one, &admin).await, [] as [Value; 0]);
    let history = history(&two, &admin).await;
    let revisions: Vec<&Value> = history.iter().map(|change| &change[0][0]).collect();
    assert_eq!(revisions, numbers.map(|number| json!(number)).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    assert_eq!(all_told(), (1..=20).collect());
    for api in [&one, &two] {
        // What the other one made may be told here as well, when it is looked up, and nothing twice.
        let told = told(api);
        assert!(told.is_sorted_by(|before, after| before < after), "{told:?}");
    }
}

#[tokio::test]
async fn what_came_due_while_nothing_ran_is_there_at_the_start() {
    let folder = folder();
    let first = Api::start_with(GROUPS, &json!({}), &plain(), &folder).await;
    let admin = first.admin().await;
    admin::create_admin(&database(&folder), "second@example.com", ADMIN_PASSWORD.into(), &policy()).await.unwrap();
    let second = first.token("second@example.com", ADMIN_PASSWORD).await;
    let from = now().plus(SOON);
    schedule(&first, &admin, "1", from).await;
    schedule(&first, &admin, "2", from).await;
    let last = schedule(&first, &admin, "3", now().plus(HOUR)).await;
    // Whoever made it need not be an administrator when it comes: they were when they made it.
    let me = get(&first, &admin, "/v1/me").await;
    let account = format!("/v1/users/{}", me["id"].as_str().unwrap());
    let gone = r#"{"role":"user","disabled":true}"#;
    assert_eq!(first.authed(&second, "PATCH", &account, Some(gone)).await.status, 200);
    first.stop().await.unwrap();
    eventually("its time has come", DEADLINE, || now() > from).await;

    let api = Api::start_with(GROUPS, &json!({}), &plain(), &folder).await;
    // In effect before it is known that all spreads are known, so before there is a price.
    let known = Subject::spreads_known();
    let before: Vec<_> = api.host.messages().into_iter().take_while(|message| message.subject != known).collect();
    let subject = Subject::spread(parse("BTC_USD"));
    let newest = before.iter().rev().find(|message| message.subject == subject).unwrap();
    assert!(matches!(&newest.payload, Payload::Spread(spread) if spread.revision == 2), "{newest:?}");
    assert_eq!(to_come(&api, &second).await, [last["id"].clone()]);
    let history = history(&api, &second).await;
    assert_eq!(history, [json!([[1, ADMIN, "why 1", "test-1"], "1"]), json!([[2, ADMIN, "why 2", "test-1"], "2"])]);
}
