//! The programs of `examples/` do what they say.

use std::{
    path::Path,
    process::{Output, Stdio},
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Admin, EMAIL, Launch, PASSWORD, in_project, within};

#[tokio::test]
async fn curl() {
    works("bash", &in_project("examples/curl.sh")).await;
}

#[tokio::test]
async fn python() {
    works("python3", &in_project("examples/client.py")).await;
}

/// Its types are checked, and Node gets what is left of it without them: Node 22.18 and later do that themselves.
#[tokio::test]
async fn typescript() {
    let folder = in_project("tests/clients");
    let mut compiler = Command::new("node");
    compiler.arg(folder.join("node_modules/typescript/bin/tsc")).arg("-p").arg(&folder);
    let output = within("the compiler", compiler.output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    works("node", &folder.join("built/client.js")).await;
}

async fn works(interpreter: &str, file: &Path) {
    let launch = Launch::new().set("runtime.role=demo").set("plugin.replay.config.speed_percent=400");
    Admin::create(&launch).await;
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let url = ratebus.url("user-api");
    let run = async |url: &str, email: &str, password: &str| {
        let mut command = Command::new(interpreter);
        command.arg(file).args([url, email, password]).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        within("the example", command.output()).await.unwrap()
    };
    let admin = Admin::login(&ratebus).await;
    let spread = async || admin.send(Method::GET, "/v1/spreads/BTC_USD", Value::Null).await;

    says(&run(&url, EMAIL, PASSWORD).await, true, &["role admin", "revision 1", "Removed it again"]);
    assert_eq!(spread().await.status(), 404);
    admin.set_spread("BTC_USD", "7", "8").await;
    says(&run(&url, EMAIL, PASSWORD).await, true, &["role admin", "revision 4", "The spread is what it was"]);
    let spread: Value = spread().await.json().await.unwrap();
    assert_eq!((&spread["revision"], &spread["buy"]["value"]), (&json!(5), &json!("7")));

    let (new, password) = ("ann@example.com", r#"say "friend" \ enter"#);
    says(&run(&url, new, password).await, true, &["registering", "role user", "for administrators"]);
    says(&run(&url, new, password).await, true, &["role user"]);
    says(&run(&url, new, "another password").await, false, &["already taken"]);
    ratebus.kill().await;
    says(&run(&url, EMAIL, PASSWORD).await, false, &[]);
}

/// Whether it succeeded, and its words.
fn says(output: &Output, success: bool, words: &[&str]) {
    let text = String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned();
    assert_eq!(output.status.success(), success, "{text}");
    assert!(!output.stderr.is_empty() || success, "it failed without a word");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    println!("{text}");
}
