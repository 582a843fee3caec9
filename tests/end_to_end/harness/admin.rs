use std::process::Stdio;

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::{Launch, Ratebus, within};

/// The administrator that [`Admin::create`] makes.
pub(crate) const EMAIL: &str = "admin@example.com";
/// Its password.
pub(crate) const PASSWORD: &str = "a long enough passphrase";

/// A logged-in administrator.
pub(crate) struct Admin {
    client: Client,
    url: String,
    token: String,
}

impl Admin {
    /// Makes the administrator with the command an operator would use.
    pub(crate) async fn create(launch: &Launch) {
        let mut command = launch.command();
        command.args(["admin", "create", "--email", EMAIL]).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).await.unwrap();
        let output = within("admin create", child.wait_with_output()).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Logs in.
    pub(crate) async fn login(ratebus: &Ratebus) -> Self {
        let (client, url) = (Client::new(), ratebus.url("user-api"));
        let credentials = json!({ "email": EMAIL, "password": PASSWORD });
        let answer = client.post(format!("{url}/login")).json(&credentials).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        let token = answer["data"]["token"]["token"].as_str().unwrap().to_owned();
        Self { client, url, token }
    }

    /// The bearer token.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Sends a request with the token.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Value) -> Response {
        self.try_send(method, path, body).await.unwrap()
    }

    /// As [`Admin::send`], of a server that may be gone.
    pub(crate) async fn try_send(&self, method: Method, path: &str, body: Value) -> reqwest::Result<Response> {
        let request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        within(path, request.json(&body).send()).await
    }

    /// Sets a spread of absolute markups.
    pub(crate) async fn set_spread(&self, scope: &str, buy: &str, sell_markup: &str) {
        let body = json!({ "buy": { "value": buy }, "sell": { "value": sell_markup } });
        let answer = self.send(Method::PUT, &format!("/v1/spreads/{scope}"), body).await;
        assert!(answer.status().is_success(), "{} {}", answer.status(), answer.text().await.unwrap());
    }
}
