//! The page in a real browser.

use std::{process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

use crate::harness::{Admin, EMAIL, Launch, PASSWORD, in_project};

/// Each of its steps has a deadline of its own.
const DEADLINE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn rates_move_and_an_admins_spread_shows_on_every_open_page() {
    works(Launch::new(), &[]).await;
}

#[tokio::test]
async fn where_accounts_are_asked_for_rates_show_to_who_is_logged_in() {
    works(Launch::new().set("plugin.broadcast.config.access=accounts"), &["--private"]).await;
}

async fn works(launch: Launch, args: &[&str]) {
    let launch = launch.set("runtime.role=demo");
    Admin::create(&launch).await;
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let mut command = Command::new("node");
    command.arg(in_project("tests/clients/page.mjs")).args(["--url", &ratebus.url("user-api")]);
    command.args(["--email", EMAIL, "--password", PASSWORD]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = timeout(DEADLINE, command.output()).await.expect("the browser test ends").unwrap();
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", words(&output.stdout), words(&output.stderr));
}
