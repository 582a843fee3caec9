//! What clients of the original project rely on, line by line, against the built binary.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::harness::{Admin, Launch, Ratebus, SocketIo, eventually, silence, started};

/// The sample of the original's README.
#[tokio::test]
async fn the_readme_sample_of_the_original_to_the_digit() {
    let exchange = started().await;
    let launch = Launch::new().exchange(&exchange.url()).set("compat.reference=ask");
    Admin::create(&launch).await;
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let url = ratebus.url("user-api");
    let mut client = SocketIo::connect(&url, "4", "websocket");
    client.until(|map| map["BTC_USD"].is_object()).await;

    let admin = Admin::login(&ratebus).await;
    let spread = json!({ "buy": 450, "sell": "433" });
    for expected in ["Rates created", "Rates updated"] {
        let answer = admin.send(Method::POST, "/settings/update-rates", spread.clone()).await;
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        assert_eq!((&answer["state"], &answer["message"]), (&json!("success"), &json!(expected)));
    }
    let line = client.until(|map| map["BTC_USD"]["currentSpread"]["buy"] == 450).await;
    let sample = r#"{"BTC_USD":{"original":{"buy":20249,"sell":20249},"withSpread":{"buy":20699,"sell":20682},"currentSpread":{"buy":450,"sell":433}"#;
    assert!(line.starts_with(sample), "{line}");

    let entry: Value = get(&format!("{url}/rates/BTC_USD")).await.1;
    assert_eq!(entry["statusCode"], 200);
    assert_eq!(entry["data"]["withSpread"], json!({ "buy": 20699, "sell": 20682 }));
}

/// The role alone, without a broker.
async fn exchange_rate(exchange: &str) -> Ratebus {
    Launch::new().arg("--role").arg("exchange-rate").set("bus.backend=memory").exchange(exchange).start().await
}

#[tokio::test]
async fn the_exchange_rate_role() {
    let exchange = started().await;
    let ratebus = exchange_rate(&exchange.url()).await;
    ratebus.ready("exchange-rate").await;
    let url = ratebus.url("exchange-rate");
    assert_eq!(get(&url).await, (200, json!({ "hello": "world" })));
    let (status, health) = get(&format!("{url}/health")).await;
    assert_eq!((status, &health["healthy"]), (200, &json!(true)), "{health}");
    assert!(health["report"].as_object().is_some_and(|report| !report.is_empty()), "{health}");
    let rate = json!({ "state": "success", "statusCode": 200, "message": "Current rate for BTC_USD",
                       "data": { "pair": "BTC_USD", "rate": "20249.00000" } });
    assert_eq!(get(&format!("{url}/rates/BTC_USD")).await, (200, rate));
    let invalid = json!({ "state": "failed", "statusCode": 406, "message": "Invalid pair!" });
    let (status, answer) = get(&format!("{url}/rates/NOPE")).await;
    assert_eq!((status, &answer["state"], &answer["message"]), (406, &invalid["state"], &invalid["message"]));
}

#[tokio::test]
async fn unhealthy_is_400_and_no_rate_is_503() {
    let exchange = started().await;
    silence(&exchange);
    let ratebus = exchange_rate(&exchange.url()).await;
    let url = ratebus.url("exchange-rate");
    let (status, answer) = eventually("the pair to be known", || async {
        let answer = get(&format!("{url}/rates/BTC_USD")).await;
        (answer.0 == 503).then_some(answer)
    })
    .await;
    assert_eq!((status, &answer["state"], &answer["statusCode"]), (503, &json!("failed"), &json!(503)), "{answer}");
    let (status, health) = get(&format!("{url}/health")).await;
    assert_eq!((status, &health["healthy"]), (400, &json!(false)), "{health}");
    assert_eq!(get(&format!("{url}/livez")).await.0, 200);
    assert_eq!(get(&format!("{url}/readyz")).await.0, 503);
}

#[tokio::test]
async fn the_user_api_role_answers_as_the_original() {
    let exchange = started().await;
    let ratebus = Launch::new().exchange(&exchange.url()).start().await;
    ratebus.ready("user-api").await;
    let url = ratebus.url("user-api");
    assert_eq!(get(&url).await, (200, json!({ "service": "User Api" })));
    let (status, answer) = get(&format!("{url}/nothing/here")).await;
    assert_eq!((status, &answer["message"]), (404, &json!("We couldn't find what you're looking for.")));

    let client = Client::new();
    let user = json!({ "firstName": "Ada", "lastName": "Lovelace", "email": "ada@example.com",
                       "password": "analytical engine", "confirmPassword": "analytical engine" });
    let send = |method: Method, path: &str, body: Value, token: Option<&str>| {
        let mut request = client.request(method, format!("{url}{path}")).json(&body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        }
    };
    let (status, answer) = send(Method::POST, "/register", user.clone(), None).await;
    assert_eq!((status, &answer["message"]), (200, &json!("Registered successfully")), "{answer}");
    assert_eq!(answer["data"]["firstName"], "Ada");
    let (status, answer) = send(Method::POST, "/register", user, None).await;
    assert_eq!((status, &answer["message"]), (422, &json!("Validation failed.")));
    assert_eq!(answer["data"]["errors"][0]["message"], "The email is already taken");
    let (status, answer) =
        send(Method::POST, "/login", json!({ "email": "ada@example.com", "password": "no engine" }), None).await;
    assert_eq!((status, &answer["message"]), (401, &json!("Invalid credentials")));
    let credentials = json!({ "email": "Ada@Example.com", "password": "analytical engine" });
    let (status, answer) = send(Method::POST, "/login", credentials, None).await;
    assert_eq!(
        (status, &answer["message"], &answer["data"]["token"]["type"]),
        (200, &json!("You're loggedin"), &json!("bearer"))
    );
    let token = answer["data"]["token"]["token"].as_str().unwrap();
    let (status, answer) =
        send(Method::POST, "/settings/update-rates", json!({ "buy": 1, "sell": 1 }), Some(token)).await;
    assert_eq!((status, &answer["message"]), (401, &json!("Unauthorized access")));
    let (status, answer) = send(Method::DELETE, "/logout", Value::Null, Some(token)).await;
    assert_eq!((status, &answer["message"]), (200, &json!("You're now logged out!")));
    let (status, answer) = send(Method::DELETE, "/logout", Value::Null, Some(token)).await;
    assert_eq!((status, &answer["message"]), (400, &json!("You're not loggedin")));
}

async fn get(url: &str) -> (u16, Value) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}
