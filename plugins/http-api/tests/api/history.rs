use ratebus_sdk::{
    Factory, Sink,
    model::{Message, Payload},
};
use ratebus_spread::Spread;
use serde_json::{Value, json};

use crate::{
    accounts::join_all,
    harness::{ADMIN, Answer, Api, DEADLINE, folder, plain},
    spreads::{SPREAD, markup},
};

const GROUPS: &[&str] = &["quotes", "accounts", "spreads"];
const PATH: &str = "/v1/spreads/BTC_USD";
const HISTORY: &str = "/v1/spreads/BTC_USD/history";
const ROLLBACK: &str = "/v1/spreads/BTC_USD/rollback";

/// What [`SPREAD`] sets, and what `markup("1", "1")` does.
fn first() -> Value {
    serde_json::from_str(SPREAD).unwrap()
}

fn one() -> Value {
    json!({ "buy": { "unit": "absolute", "value": "1" }, "sell": { "unit": "absolute", "value": "1" } })
}

fn to(revision: u64) -> String {
    json!({ "revision": revision }).to_string()
}

/// A body of `PUT` with this as its reason.
fn because(reason: &Value) -> String {
    json!({ "buy": { "value": "1" }, "sell": { "value": "1" }, "reason": reason }).to_string()
}

/// The revisions of an answer, and where the next page begins.
fn page(answer: &Answer) -> (Vec<u64>, Option<u64>) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    let changes = json["changes"].as_array().unwrap();
    (changes.iter().map(|change| change["revision"].as_u64().unwrap()).collect(), json["next"].as_u64())
}

#[tokio::test]
async fn a_history_names_every_change() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let send = async |method: &str, path: &str, body: Option<&str>| api.authed(&admin, method, path, body).await.status;
    assert_eq!(
        api.authed(&admin, "GET", HISTORY, None).await.json(),
        json!({ "scope": "BTC_USD", "changes": [], "next": null })
    );
    assert_eq!(send("PUT", PATH, Some(SPREAD)).await, 201);
    assert_eq!(send("PUT", PATH, Some(&because(&json!("quiet night")))).await, 200);
    assert_eq!(send("PUT", "/v1/spreads/*", Some(&markup("2", "2"))).await, 201);
    assert_eq!(send("DELETE", PATH, None).await, 204);
    assert_eq!(send("POST", ROLLBACK, Some(r#"{"revision":1,"reason":"that was wrong"}"#)).await, 201);

    let mut history = api.authed(&admin, "GET", "/v1/spreads/btc-usd/history", None).await.json();
    for change in history["changes"].as_array_mut().unwrap() {
        let time = change.as_object_mut().unwrap().remove("time").unwrap();
        assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
    }
    let change = |revision: u64, old: Value, new: Value, reason: Option<&str>| json!({ "revision": revision, "actor": ADMIN, "old": old, "new": new, "reason": reason, "requestId": "test-1" });
    let changes = [
        change(4, Value::Null, first(), Some("that was wrong")),
        change(3, one(), Value::Null, None),
        change(2, first(), one(), Some("quiet night")),
        change(1, Value::Null, first(), None),
    ];
    assert_eq!(history, json!({ "scope": "BTC_USD", "changes": changes, "next": null }));
    assert_eq!(page(&api.authed(&admin, "GET", "/v1/spreads/*/history", None).await), (vec![1], None));
    api.authed(&admin, "GET", "/v1/spreads/NOPE/history", None).await.problem(404);
}

#[tokio::test]
async fn a_history_comes_in_pages() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    for _ in 0..52 {
        assert!(api.authed(&admin, "PUT", PATH, Some(SPREAD)).await.status < 300);
    }
    let get = async |query: &str| api.authed(&admin, "GET", &format!("{HISTORY}?{query}"), None).await;
    for (query, revisions, next) in [
        ("", 3..=52, Some(3)),
        ("before=3", 1..=2, None),
        ("limit=1", 52..=52, Some(52)),
        ("limit=51", 2..=52, Some(2)),
        ("limit=52", 1..=52, None),
        ("limit=200", 1..=52, None),
        ("before=5&limit=2", 3..=4, Some(3)),
        ("limit=2&before=3", 1..=2, None),
        ("before=2", 1..=1, None),
        ("before=53&limit=1", 52..=52, Some(52)),
        ("before=18446744073709551615&limit=1", 52..=52, Some(52)),
    ] {
        assert_eq!(page(&get(query).await), (revisions.rev().collect(), next), "{query}");
    }
    assert_eq!(page(&get("before=1").await), (Vec::new(), None));
    assert_eq!(page(&get("before=0").await), (Vec::new(), None));
    for bad in ["limit=0", "limit=201", "limit=-1", "limit=x", "limit=", "before=-1", "before=1.0", "after=1"] {
        assert!(!get(bad).await.problem(422).is_empty(), "{bad}");
    }
    get("limit=1&limit=2").await.problem(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_parallel_change_is_lost() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    api.authed(&admin, "PUT", PATH, Some(SPREAD)).await;
    let writes = (2..=25).map(|n| {
        let (method, path, body) = match n % 2 {
            0 => ("PUT", PATH, because(&json!(n.to_string()))),
            _ => ("POST", ROLLBACK, json!({ "revision": 1, "reason": n.to_string() }).to_string()),
        };
        let (api, admin) = (&api, &admin);
        async move { api.authed(admin, method, path, Some(&body)).await.status }
    });
    assert!(join_all(writes).await.iter().all(|status| *status == 200));
    let history = api.authed(&admin, "GET", HISTORY, None).await;
    assert_eq!(page(&history), ((1..=25).rev().collect(), None));
    let history = history.json();
    let changes = history["changes"].as_array().unwrap();
    assert!(changes.windows(2).all(|pair| pair[0]["old"] == pair[1]["new"]), "{changes:#?}");
    let mut reasons: Vec<u64> =
        changes.iter().filter_map(|change| change["reason"].as_str()).map(|reason| reason.parse().unwrap()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, (2..=25).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_rollback_restores_each_kind_of_revision() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let rollback = async |revision: u64| api.authed(&admin, "POST", ROLLBACK, Some(&to(revision))).await;
    assert_eq!(rollback(1).await.problem(404), "BTC_USD has no revision 1");
    api.authed(&admin, "PUT", PATH, Some(SPREAD)).await;
    api.authed(&admin, "PUT", PATH, Some(&markup("1", "1"))).await;
    api.authed(&admin, "DELETE", PATH, None).await;

    // (to which revision, answer, its spread): a first one, a later one, a removal, one that was a rollback, the present.
    for (made, (revision, status, spread)) in (4..).zip([
        (1, 201, Some(first())),
        (2, 200, Some(one())),
        (3, 204, None),
        (4, 201, Some(first())),
        (7, 200, Some(first())),
    ]) {
        let answer = rollback(revision).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let Some(mut expected) = spread else {
            assert_eq!((answer.header("etag"), answer.text.as_str()), ("", ""));
            // It is so already, whichever removal is meant.
            for removal in [3, made] {
                let already = format!("no spread is set for BTC_USD, as in revision {removal}");
                assert_eq!(rollback(removal).await.problem(409), already);
            }
            continue;
        };
        let mut view = answer.json();
        let updated_at = view.as_object_mut().unwrap().remove("updatedAt").unwrap();
        assert!(updated_at.is_string());
        let more = json!({ "scope": "BTC_USD", "revision": made, "updatedBy": ADMIN });
        expected.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!((view, answer.header("etag")), (expected, format!("\"{made}\"").as_str()));
        assert_eq!(api.authed(&admin, "GET", PATH, None).await.json(), answer.json());
    }
    for unknown in [0, 9, u64::MAX] {
        assert_eq!(rollback(unknown).await.problem(404), format!("BTC_USD has no revision {unknown}"));
    }
    // A revision is of its scope only.
    api.authed(&admin, "POST", "/v1/spreads/*/rollback", Some(&to(1))).await.problem(404);
    api.authed(&admin, "POST", "/v1/spreads/NOPE/rollback", Some(&to(1))).await.problem(404);
    let published: Vec<(u64, bool)> =
        api.published_spreads().iter().map(|spread| (spread.revision, spread.rule.is_some())).collect();
    let set = |revision| (revision, revision != 3 && revision != 6);
    assert_eq!(published, (1..=8).map(set).collect::<Vec<_>>());
    assert_eq!(api.published_spreads()[0].rule, api.published_spreads()[7].rule);
}

#[tokio::test]
async fn a_rollback_is_judged_as_today() {
    let more = json!({ "max_markup_percent": 10 });
    let api = Api::start_with(GROUPS, &more, &plain(), &folder()).await;
    let admin = api.admin().await;
    for body in [markup("-1", "5"), markup("20", "0"), markup("0", "0")] {
        api.quote("BTC_USD", "200", "210", None);
        assert!(api.authed(&admin, "PUT", PATH, Some(&body)).await.status < 300);
    }
    let rollback = async |revision| api.authed(&admin, "POST", ROLLBACK, Some(&to(revision))).await;
    api.quote("BTC_USD", "5", "6", None);
    assert_eq!(
        rollback(1).await.problem(422),
        "at the current price of BTC_USD, the customer's sell price would not be above zero"
    );
    assert!(rollback(2).await.problem(422).ends_with("by more than 10 % (max_markup_percent)"));
    assert_eq!(page(&api.authed(&admin, "GET", HISTORY, None).await).0, [3, 2, 1]);
    assert_eq!(api.published_spreads().len(), 3);
    api.quote("BTC_USD", "200", "210", None);
    assert_eq!(rollback(1).await.status, 200);
}

#[tokio::test]
async fn a_rollback_has_conditions_as_a_put_has() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    api.authed(&admin, "PUT", PATH, Some(SPREAD)).await;
    api.authed(&admin, "PUT", PATH, Some(&markup("1", "1"))).await;
    let rollback = async |revision: u64, name: &str, value: &str| {
        api.conditional(&admin, "POST", ROLLBACK, Some(&to(revision)), &[(name, value)]).await
    };
    for (name, value) in [("if-match", "\"1\""), ("if-match", "2"), ("if-none-match", "*"), ("if-none-match", "\"2\"")]
    {
        assert_eq!(
            rollback(1, name, value).await.problem(412),
            "the spread of BTC_USD is not as expected: its revision is 2"
        );
    }
    assert_eq!(rollback(1, "if-match", "\"2\"").await.header("etag"), "\"3\"");
    api.authed(&admin, "DELETE", PATH, None).await;
    assert_eq!(rollback(1, "if-match", "*").await.status, 412);
    assert_eq!(rollback(4, "if-match", "\"4\"").await.status, 412);
    assert_eq!(rollback(4, "if-none-match", "*").await.status, 409);
    assert_eq!(rollback(1, "if-none-match", "*").await.header("etag"), "\"5\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_one_wins() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    api.authed(&admin, "PUT", PATH, Some(SPREAD)).await;
    api.authed(&admin, "PUT", PATH, Some(&markup("1", "1"))).await;
    let condition = [("if-match", "\"2\"")];
    let back = to(1);
    let tries = (0..8).map(|n| match n % 2 {
        0 => api.conditional(&admin, "POST", ROLLBACK, Some(&back), &condition),
        _ => api.conditional(&admin, "PUT", PATH, Some(SPREAD), &condition),
    });
    let mut statuses: Vec<u16> = join_all(tries).await.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
    assert_eq!(page(&api.authed(&admin, "GET", HISTORY, None).await).0, [3, 2, 1]);
}

#[tokio::test]
async fn a_reason_is_kept_as_it_was_given() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let longest = "\u{1f980}".repeat(200);
    let reasons = [
        "",
        "  O'Brien\u{a0}said: \"+0,5 %\" \\ \u{202f}ça va? ",
        "'); DROP TABLE spread_audit; --",
        "<script>alert(1)</script>",
        "\u{5de}\u{5e8}\u{5d5}\u{5d5}\u{5d7} \u{1f468}\u{200d}\u{1f680}",
        &longest,
    ];
    for reason in reasons {
        assert!(api.authed(&admin, "PUT", PATH, Some(&because(&json!(reason)))).await.status < 300, "{reason}");
    }
    let back = json!({ "revision": 1, "reason": reasons[1] }).to_string();
    assert_eq!(api.authed(&admin, "POST", ROLLBACK, Some(&back)).await.status, 200);
    let history = api.authed(&admin, "GET", HISTORY, None).await.json();
    let shown: Vec<&str> =
        history["changes"].as_array().unwrap().iter().rev().map(|change| change["reason"].as_str().unwrap()).collect();
    assert_eq!(shown[..6], reasons);
    assert_eq!(shown[6], reasons[1]);
    assert_eq!(api.rows().await.texts("SELECT reason FROM spread_audit ORDER BY revision").await, shown);
}

#[tokio::test]
async fn a_reason_that_could_mislead_is_refused() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    api.authed(&admin, "PUT", PATH, Some(SPREAD)).await;
    let control = "contains a line break or another control character";
    let mut bad: Vec<(Value, &str)> = [
        "\r",
        "\n",
        "a\r\nb",
        "\t",
        "\0",
        "\u{1b}[2J",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{2029}",
        "\u{202e}",
        "\u{2066}",
    ]
    .map(|text| (json!(text), control))
    .to_vec();
    bad.push((json!("x".repeat(201)), "is longer than 200 characters"));
    bad.extend([json!(null), json!(1), json!(["x"]), json!({})].map(|value| (value, "is not a string")));
    for (reason, message) in bad {
        for (method, path, body) in [
            ("PUT", PATH, because(&reason)),
            ("POST", "/v1/spreads/BTC_USD/preview", because(&reason)),
            ("POST", ROLLBACK, json!({ "revision": 1, "reason": reason }).to_string()),
        ] {
            let answer = api.authed(&admin, method, path, Some(&body)).await;
            assert_eq!(answer.problem(422), format!("reason: {message}"), "{body}");
        }
    }
    let lone_surrogate = r#"{"revision":1,"reason":"\ud800"}"#;
    assert_eq!(
        api.authed(&admin, "POST", ROLLBACK, Some(lone_surrogate)).await.problem(422),
        "reason: is not a string"
    );
    let preview = api.authed(&admin, "POST", "/v1/spreads/BTC_USD/preview", Some(&because(&json!("why")))).await;
    assert_eq!(preview.status, 200);
    assert_eq!(page(&api.authed(&admin, "GET", HISTORY, None).await).0, [1]);
}

#[tokio::test]
async fn bad_rollbacks_change_nothing() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    api.authed(&admin, "PUT", PATH, Some(SPREAD)).await;
    let rollback = async |body: Option<&str>| api.authed(&admin, "POST", ROLLBACK, body).await;
    for revision in ["\"1\"", "1.0", "1e0", "-1", "null", "18446744073709551616", "[1]"] {
        let answer = rollback(Some(&format!(r#"{{"revision":{revision}}}"#))).await;
        assert_eq!(answer.problem(422), "revision: is not a whole number such as 3", "{revision}");
    }
    for (body, fields) in [
        ("{}", vec!["revision"]),
        (r#"{"revision":1,"force":true}"#, vec!["force"]),
        (r#"{"reason":1}"#, vec!["revision", "reason"]),
    ] {
        let answer = rollback(Some(body)).await;
        answer.problem(422);
        let errors = answer.json()["errors"].as_array().unwrap().clone();
        assert_eq!(errors.iter().map(|error| error["field"].clone()).collect::<Vec<_>>(), fields);
    }
    rollback(Some(r#"{"revision":1,"revision":1}"#)).await.problem(422);
    rollback(Some("[]")).await.problem(422);
    rollback(None).await.problem(415);
    assert_eq!(api.published_spreads().len(), 1);
}

/// Who may do what: for nobody, a user and an administrator.
#[tokio::test]
async fn only_administrators() {
    let api = Api::start(GROUPS).await;
    let (admin, user) = (api.admin().await, api.user().await);
    api.authed(&admin, "PUT", PATH, Some(SPREAD)).await;
    for (method, path, body) in [("GET", HISTORY, None), ("POST", ROLLBACK, Some(r#"{"revision":1}"#))] {
        api.call(method, path, &[], body.unwrap_or_default()).await.problem(401);
        assert_eq!(api.authed(&user, method, path, body).await.problem(403), "only an administrator may do this");
        assert_eq!(api.authed(&admin, method, path, body).await.status, 200);
    }
    // Who may not is not told what is wrong either.
    api.get(&format!("{HISTORY}?limit=0")).await.problem(401);
    api.authed(&user, "POST", ROLLBACK, Some("{")).await.problem(403);
    assert_eq!(api.authed(&admin, "POST", HISTORY, Some("{}")).await.status, 405);
    assert_eq!(api.authed(&admin, "GET", ROLLBACK, None).await.status, 405);
    assert_eq!(api.published_spreads().len(), 2);
}

#[tokio::test]
async fn rates_follow_a_rollback_at_once() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let spread = Box::new(Spread::build(serde_json::from_value(json!({})).unwrap(), &plain()).unwrap());
    let (inbox, ctx) = (api.host.inbox(&spread.interests()), api.host.context("spread"));
    let run = tokio::spawn(spread.run(inbox, ctx.clone()));
    api.rate("kraken", "BTC_USD", "20000", "20010", std::time::Duration::ZERO);

    let customer = async |revision: u64| {
        let priced = |message: &Message| match &message.payload {
            Payload::Quote(quote) => quote.rule.map_or(0, |rule| rule.revision) == revision,
            _ => false,
        };
        api.host.wait_for(priced, DEADLINE).await;
        let rate = api.get("/v1/rates/BTC_USD").await.json();
        (rate["customer"]["buy"].clone(), rate["customer"]["sell"].clone(), rate["withheld"].clone())
    };
    let none = (json!(null), json!(null), json!("no_spread"));
    assert_eq!(customer(0).await, none);
    api.authed(&admin, "PUT", PATH, Some(&markup("450", "433"))).await;
    assert_eq!(customer(1).await, (json!("20460.00"), json!("19567.00"), json!(null)));
    api.authed(&admin, "PUT", PATH, Some(&markup("1", "1"))).await;
    assert_eq!(customer(2).await, (json!("20011.00"), json!("19999.00"), json!(null)));
    assert_eq!(api.authed(&admin, "POST", ROLLBACK, Some(&to(1))).await.status, 200);
    assert_eq!(customer(3).await, (json!("20460.00"), json!("19567.00"), json!(null)));
    ctx.cancel_token().cancel();
    run.await.unwrap().unwrap();
}

/// A log from before reasons: its changes are shown, and can be returned to.
#[tokio::test]
async fn an_older_log_is_read() {
    let folder = folder();
    let api = Api::start_with(GROUPS, &json!({}), &plain(), &folder).await;
    let admin = api.admin().await;
    api.authed(&admin, "PUT", PATH, Some(SPREAD)).await;
    api.stop().await.unwrap();
    let rows = folder.database.client().await;
    for sql in ["ALTER TABLE spread_audit DROP COLUMN reason", "DELETE FROM _sqlx_migrations WHERE version = 10"] {
        rows.execute(sql).await;
    }

    let api = Api::start_with(GROUPS, &json!({}), &plain(), &folder).await;
    let history = api.authed(&admin, "GET", HISTORY, None).await;
    assert_eq!(page(&history), (vec![1], None));
    assert_eq!(
        (&history.json()["changes"][0]["reason"], &history.json()["changes"][0]["new"]),
        (&json!(null), &first())
    );
    assert_eq!(api.authed(&admin, "POST", ROLLBACK, Some(&to(1))).await.header("etag"), "\"2\"");
}
