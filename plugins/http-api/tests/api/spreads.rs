use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Instant};

use metrics_exporter_prometheus::PrometheusBuilder;
use ratebus_sdk::{
    model::{Adjustment, Message, PairState, Payload, Rule, Scope, Sides, Subject},
    testkit::eventually,
};
use serde_json::{Value, json};

use crate::{
    accounts::join_all,
    harness::{ADMIN, Api, DEADLINE, folder, parse, plain},
};

const GROUPS: &[&str] = &["quotes", "accounts", "spreads"];
pub(crate) const SPREAD: &str = r#"{"buy":{"unit":"absolute","value":"450.00"},"sell":{"unit":"bps","value":"25"}}"#;

/// Revision, actor, old and new spread, request.
type AuditRow = (i64, String, Option<String>, Option<String>, Option<String>);

pub(crate) fn markup(buy: &str, sell: &str) -> String {
    json!({ "buy": { "value": buy }, "sell": { "value": sell } }).to_string()
}

fn absolute(buy: &str, sell: &str) -> Rule {
    let side = |text| Adjustment::absolute(parse(text));
    Rule::from_markup(Sides { buy: side(buy), sell: side(sell) })
}

#[tokio::test]
async fn a_spread_lives() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let path = "/v1/spreads/BTC_USD";
    assert_eq!(api.authed(&admin, "GET", path, None).await.problem(404), "no spread is set for BTC_USD");

    let made = api.authed(&admin, "PUT", path, Some(SPREAD)).await;
    assert_eq!((made.status, made.header("etag")), (201, "\"1\""));
    let mut view = made.json();
    assert!(view.as_object_mut().unwrap().remove("updatedAt").unwrap().as_str().unwrap().ends_with('Z'));
    let expected = json!({ "scope": "BTC_USD", "buy": { "unit": "absolute", "value": "450.00" },
        "sell": { "unit": "bps", "value": "25" }, "revision": 1, "updatedBy": ADMIN });
    assert_eq!(view, expected);
    let read = api.authed(&admin, "GET", "/v1/spreads/btc-usd", None).await;
    assert_eq!((read.status, read.header("etag"), read.json()), (200, "\"1\"", made.json()));

    let changed = api.authed(&admin, "PUT", path, Some(&markup("0", "0"))).await;
    assert_eq!((changed.status, changed.header("etag")), (200, "\"2\""));
    assert_eq!(changed.json()["sell"], json!({ "unit": "absolute", "value": "0" }));
    let all = api.authed(&admin, "PUT", "/v1/spreads/*", Some(&markup("1", "1"))).await;
    assert_eq!((all.status, all.json()["scope"].clone()), (201, json!("*")));
    let list = api.authed(&admin, "GET", "/v1/spreads", None).await.json();
    assert_eq!(list, json!({ "spreads": [all.json(), changed.json()] }));

    let gone = api.authed(&admin, "DELETE", path, None).await;
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
    assert_eq!(api.authed(&admin, "DELETE", path, None).await.problem(404), "no spread is set for BTC_USD");
    assert_eq!(api.authed(&admin, "GET", path, None).await.status, 404);
    // A revision that was used does not return.
    let again = api.authed(&admin, "PUT", path, Some(SPREAD)).await;
    assert_eq!((again.status, again.header("etag")), (201, "\"4\""));

    let published: Vec<(Scope, u64, bool)> =
        api.published_spreads().iter().map(|spread| (spread.scope, spread.revision, spread.rule.is_some())).collect();
    let btc = Scope::Pair(parse("BTC_USD"));
    assert_eq!(published, [(btc, 1, true), (btc, 2, true), (Scope::All, 1, true), (btc, 3, false), (btc, 4, true)]);
}

#[tokio::test]
async fn every_change_is_in_the_audit_log_for_good() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    api.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(SPREAD)).await;
    api.authed(&admin, "DELETE", "/v1/spreads/BTC_USD", None).await;
    let database = api.rows().await;
    let query = "SELECT revision, actor_email, old_spread, new_spread, request_id FROM spread_audit ORDER BY revision";
    let rows: Vec<AuditRow> = database.all(query).await;
    let by = |revision, old: Option<&str>, new: Option<&str>| {
        (revision, ADMIN.to_owned(), old.map(str::to_owned), new.map(str::to_owned), Some("test-1".to_owned()))
    };
    assert_eq!(rows, [by(1, None, Some(SPREAD)), by(2, Some(SPREAD), None)]);
    for sql in ["DELETE FROM spread_audit", "UPDATE spread_audit SET actor_email = 'x'"] {
        let refused = database.try_execute(sql).await.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{refused}");
    }
}

#[tokio::test]
async fn conditions() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let path = "/v1/spreads/BTC_USD";
    let put =
        async |name: &str, value: &str| api.conditional(&admin, "PUT", path, Some(SPREAD), &[(name, value)]).await;
    assert_eq!(put("if-match", "*").await.problem(412), "the spread of BTC_USD is not as expected: none is set");
    assert_eq!(put("if-match", "\"1\"").await.status, 412);
    assert_eq!(put("if-none-match", "*").await.status, 201);
    assert_eq!(
        put("if-none-match", "*").await.problem(412),
        "the spread of BTC_USD is not as expected: its revision is 1"
    );
    assert_eq!(put("if-match", "\"2\"").await.status, 412);
    assert_eq!(put("if-match", "\"7\", \"1\"").await.header("etag"), "\"2\"");
    assert_eq!(put("if-match", "*").await.header("etag"), "\"3\"");
    assert_eq!(put("if-match", "3").await.status, 412);

    let get = async |value: &str| api.conditional(&admin, "GET", path, None, &[("if-none-match", value)]).await;
    let unchanged = get("\"3\"").await;
    assert_eq!((unchanged.status, unchanged.header("etag"), unchanged.text.as_str()), (304, "\"3\"", ""));
    assert_eq!((get("W/\"3\"").await.status, get("\"2\"").await.status), (304, 200));

    let delete = async |value: &str| api.conditional(&admin, "DELETE", path, None, &[("if-match", value)]).await.status;
    assert_eq!((delete("\"2\"").await, delete("\"3\"").await, delete("\"3\"").await), (412, 204, 412));
    assert_eq!(api.published_spreads().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_at_once() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    api.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(SPREAD)).await;
    let condition = [("if-match", "\"1\"")];
    let body = markup("1", "1");
    let tries = (0..8).map(|_| api.conditional(&admin, "PUT", "/v1/spreads/BTC_USD", Some(&body), &condition));
    let mut statuses: Vec<u16> = join_all(tries).await.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);

    // Without a condition all of them win, one after the other, and the bus hears them in that order.
    let tries = (0..8).map(|_| api.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(&body)));
    assert!(join_all(tries).await.iter().all(|answer| answer.status == 200));
    let revisions: Vec<u64> = api.published_spreads().iter().map(|spread| spread.revision).collect();
    assert_eq!(revisions, (1..=10).collect::<Vec<_>>());
}

/// The database is the truth: what another instance sets there is found without a word from it, and at once with one.
#[tokio::test]
async fn what_another_instance_sets_is_published_here() {
    let (folder, more) = (folder(), json!({}));
    let here = Api::start_with(GROUPS, &more, &plain(), &folder).await;
    let there = Api::start_with(GROUPS, &more, &plain(), &folder).await;
    let admin = there.admin().await;
    for revision in 1..=2 {
        let set = there.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(SPREAD)).await;
        assert!(set.status < 300, "{set:?}");
        let changed = |message: &Arc<Message>| message.subject == Subject::spreads_changed();
        assert!(there.host.messages().iter().any(changed), "the others are told");
        if revision == 2 {
            here.ctx.try_publish(&Subject::spreads_changed(), Payload::Bytes("".into())).unwrap();
        }
        let known = || here.published_spreads().last().is_some_and(|spread| spread.revision == revision);
        eventually("it is published", DEADLINE, known).await;
    }
    assert_eq!(here.published_spreads().len(), 2);
}

/// Requests are dropped at each of the moments at which they wait for something, after their commit among them. How
/// many there are depends on the database and its connections, so a whole change between them counts anew.
#[tokio::test]
async fn clients_that_leave_leave_no_change_untold() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let put = || api.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(SPREAD));
    let recorder = PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let deadline = Instant::now() + DEADLINE;
    let (mut answered, mut committed, mut leaves_at) = (0, 0, 0);
    while committed == answered {
        assert!(Instant::now() < deadline, "none of {answered} was dropped after its commit");
        let (_, early) = polls_of(put(), leaves_at).await;
        answered += u64::from(early.is_some());
        // This one waits for those before it.
        let (polls, whole) = polls_of(put(), usize::MAX).await;
        answered += 1;
        committed = whole.unwrap().json()["revision"].as_u64().unwrap();
        leaves_at = if leaves_at == 0 { polls } else { leaves_at - 1 };
    }
    assert_eq!(api.published_spreads().len() as u64, committed);
    // Counted where it is logged.
    let counted = format!("ratebus_spread_changes_total {committed}\n");
    assert!(recorder.handle().render().contains(&counted), "{}", recorder.handle().render());
}

/// Polls until there is an answer, at most as often as told: how often it was, and the answer.
async fn polls_of<T>(request: impl Future<Output = T>, at_most: usize) -> (usize, Option<T>) {
    let (mut request, mut polls) = (pin!(request), 0);
    let answer = poll_fn(|cx| {
        if polls == at_most {
            return Poll::Ready(None);
        }
        polls += 1;
        request.as_mut().poll(cx).map(Some)
    });
    let answer = answer.await;
    (polls, answer)
}

#[tokio::test]
async fn bad_spreads_change_nothing() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let put = async |body: &str| api.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(body)).await;
    let digits = "1".repeat(41);
    for bad in ["NaN", "1e400", &digits, "1,5", "0x10", "", " 1", "+1", "Infinity", "1_000", "١"] {
        let answer = put(&json!({ "buy": { "value": bad }, "sell": { "value": "1" } }).to_string()).await;
        let detail = answer.problem(422);
        assert!(
            detail.starts_with("buy.value: ") && detail.ends_with("is not a decimal number of at most 28 digits"),
            "{detail}"
        );
        assert_eq!(answer.json()["errors"][0]["field"], "buy.value");
        assert_eq!(answer.json()["title"], "Unprocessable Content");
    }
    let value = r#"{"value":"1"}"#;
    for (body, fields) in [
        ("{}".to_owned(), vec!["buy", "sell"]),
        (format!(r#"{{"buy":{value}}}"#), vec!["sell"]),
        (format!(r#"{{"buy":{value},"sell":null}}"#), vec!["sell"]),
        (format!(r#"{{"buy":{value},"sell":{value},"revision":1}}"#), vec!["revision"]),
        (format!(r#"{{"buy":{value},"sell":{{}}}}"#), vec!["sell.value"]),
        (format!(r#"{{"buy":{value},"sell":{{"value":1}}}}"#), vec!["sell.value"]),
        (format!(r#"{{"buy":{value},"sell":{{"value":"1","unit":"pips"}}}}"#), vec!["sell.unit"]),
        (format!(r#"{{"buy":{value},"sell":{{"value":"1","unit":null}}}}"#), vec!["sell.unit"]),
        (format!(r#"{{"buy":{value},"sell":{{"value":"1","side":"x"}}}}"#), vec!["sell.side"]),
        (format!(r#"{{"buy":{value},"sell":{{"value":"1","value":"2"}}}}"#), vec!["sell"]),
        (format!(r#"{{"buy":"1","sell":{value}}}"#), vec!["buy"]),
    ] {
        let answer = put(&body).await;
        answer.problem(422);
        let named: Vec<Value> =
            answer.json()["errors"].as_array().unwrap().iter().map(|e| e["field"].clone()).collect();
        assert_eq!(named, fields, "{body}");
    }
    for broken in ["", "[]", &format!(r#"{{"buy":{value},"sell":{value},"buy":{value}}}"#), "{"] {
        assert!(put(broken).await.problem(422).starts_with("the body is not a valid JSON object"), "{broken}");
    }
    api.authed(&admin, "PUT", "/v1/spreads/BTC_USD", None).await.problem(415);
    assert_eq!(put(&"x".repeat(17_000)).await.problem(413), "The body must not be longer than 16 KiB");
    api.authed(&admin, "PUT", "/v1/spreads/NOPE", Some(SPREAD)).await.problem(404);
    assert_eq!(
        api.authed(&admin, "PUT", "/v1/spreads/BTC_EUR", Some(SPREAD)).await.problem(404),
        "no source serves this pair"
    );
    assert_eq!(api.authed(&admin, "GET", "/v1/spreads", None).await.json(), json!({ "spreads": [] }));
    assert!(api.published_spreads().is_empty());
}

#[tokio::test]
async fn a_spread_must_be_right_at_every_price_it_holds_for() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    let put =
        async |scope: &str, body: &str| api.authed(&admin, "PUT", &format!("/v1/spreads/{scope}"), Some(body)).await;
    assert_eq!(
        put("*", &markup("-1", "0")).await.problem(422),
        "the customer's sell price would be above the buy price, if bid and ask were the same"
    );
    api.quote("BTC_USD", "100", "110", None);
    api.quote("ETH_USD", "5", "6", None);
    let crossed = put("*", &markup("-1.01", "0")).await;
    assert_eq!(
        crossed.problem(422),
        "at the current price of ETH_USD, the customer's sell price would be above the buy price"
    );
    assert_eq!(
        put("*", &markup("0", "5")).await.problem(422),
        "at the current price of ETH_USD, the customer's sell price would not be above zero"
    );
    // One of its own takes ETH_USD out.
    assert_eq!(put("ETH_USD", &markup("0", "0")).await.status, 201);
    assert_eq!(put("*", &markup("0", "5")).await.status, 201);
    assert_eq!(put("*", &markup("-10", "0")).await.status, 200);
    assert_eq!(put("*", &markup("-10.01", "0")).await.status, 422);
    // A pair without a price is judged as if bid and ask were the same.
    api.pairs("kraken", &[("LTC_USD", PairState::Pending)]);
    assert_eq!(put("*", &markup("-10", "0")).await.status, 422);
}

#[tokio::test]
async fn a_spread_that_moves_a_price_too_far_is_a_typing_mistake() {
    let api = Api::start_with(GROUPS, &json!({ "max_markup_percent": 10 }), &plain(), &folder()).await;
    let admin = api.admin().await;
    let put = async |body: &str| api.authed(&admin, "PUT", "/v1/spreads/BTC_USD", Some(body)).await;
    let percent =
        |value: &str| json!({ "buy": { "value": "0" }, "sell": { "value": value, "unit": "percent" } }).to_string();
    // Without a price an amount may be anything, and a share may not.
    assert_eq!(put(&markup("1000", "0")).await.status, 201);
    assert_eq!(
        put(&percent("10.01")).await.problem(422),
        "the customer's sell price would be moved by more than 10 % (max_markup_percent)"
    );
    api.quote("BTC_USD", "100", "110", None);
    assert_eq!(put(&percent("10")).await.status, 200);
    assert_eq!(put(&markup("11", "10")).await.status, 200);
    let (too_far, message) =
        (markup("11.01", "10"), "the customer's buy price would be moved by more than 10 % (max_markup_percent)");
    assert_eq!(put(&too_far).await.problem(422), format!("at the current price of BTC_USD, {message}"));
    let preview = api.authed(&admin, "POST", "/v1/spreads/BTC_USD/preview", Some(&too_far)).await.json();
    assert_eq!((&preview["pairs"][0]["problem"], &preview["pairs"][0]["after"]), (&json!(message), &json!(null)));
    // In the customer's favour too, and in the original's words.
    let given_away = r#"{"buy":0,"sell":-10.01}"#;
    let faults = api.authed(&admin, "POST", "/settings/update-rates", Some(given_away)).await.faults();
    assert_eq!((faults[0].0.as_str(), faults[0].1.as_str()), ("spread", "sell"));
    assert_eq!(api.published_spreads().len(), 3);
}

#[tokio::test]
async fn previews_change_nothing() {
    let api = Api::start(GROUPS).await;
    let admin = api.admin().await;
    api.quote("BTC_USD", "100.00", "110.00", Some(absolute("1", "1")));
    api.quote("ETH_USD", "5", "6", None);
    api.pairs("kraken", &[("LTC_USD", PairState::Pending)]);
    let preview = async |scope: &str, body: &str| {
        api.authed(&admin, "POST", &format!("/v1/spreads/{scope}/preview"), Some(body)).await
    };
    let answer = preview("*", &markup("-1", "5")).await;
    let expected = json!({ "scope": "*", "pairs": [
        { "pair": "BTC_USD", "original": { "buy": "110.00", "sell": "100.00" }, "before": { "buy": "111.00", "sell": "99.00" },
          "after": { "buy": "109.00", "sell": "95.00" }, "widthBps": "1372.55", "houseLoss": true, "problem": null },
        { "pair": "ETH_USD", "original": { "buy": "6", "sell": "5" }, "before": null, "after": null, "widthBps": null,
          "houseLoss": false, "problem": "the customer's sell price would not be above zero" },
        { "pair": "LTC_USD", "original": null, "before": null, "after": null, "widthBps": null,
          "houseLoss": false, "problem": null },
    ] });
    assert_eq!((answer.status, answer.json()), (200, expected));
    let one = preview("BTC_USD", &markup("1", "1")).await.json();
    assert_eq!((one["pairs"].as_array().unwrap().len(), &one["pairs"][0]["houseLoss"]), (1, &json!(false)));
    preview("BTC_USD", "{}").await.problem(422);
    preview("BTC_EUR", SPREAD).await.problem(404);
    assert!(api.published_spreads().is_empty());
    assert_eq!(api.authed(&admin, "GET", "/v1/spreads", None).await.json(), json!({ "spreads": [] }));
}

/// Who may do what: each route of the group, for nobody, a user and an administrator.
#[tokio::test]
async fn only_administrators() {
    let api = Api::start(GROUPS).await;
    let (admin, user) = (api.admin().await, api.user().await);
    for (method, path, body, allowed) in [
        ("GET", "/v1/spreads", None, 200),
        ("PUT", "/v1/spreads/BTC_USD", Some(SPREAD), 201),
        ("GET", "/v1/spreads/BTC_USD", None, 200),
        ("POST", "/v1/spreads/BTC_USD/preview", Some(SPREAD), 200),
        ("DELETE", "/v1/spreads/BTC_USD", None, 204),
    ] {
        assert_eq!(
            api.call(method, path, &[], body.unwrap_or_default()).await.problem(401),
            "a valid bearer token is required"
        );
        assert_eq!(api.authed(&user, method, path, body).await.problem(403), "only an administrator may do this");
        assert_eq!(api.authed(&admin, method, path, body).await.status, allowed, "{method} {path}");
    }
}
