//! What processes tell each other is read by programs in other languages: `examples/nats_consumer.py`.

use std::{io::Write, path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use super::*;

#[tokio::test]
async fn a_program_in_another_language_follows_the_rates() {
    let options = BrokerOptions { password: Some("p@ss/word"), tls: false };
    let broker = Broker::start(BrokerKind::Nats, options);
    let mut keys_file = tempfile::NamedTempFile::new().unwrap();
    keys_file.write_all(&[&b"another key, which comes first\n"[..], KEY, b"\n"].concat()).unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/nats_consumer.py");
    let mut command = Command::new("python3");
    command.arg(example).args([&broker.url(), "rates.>", "3"]).env("KEYS_FILE", keys_file.path());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut consumer = command.spawn().unwrap();
    let mut said = BufReader::new(consumer.stdout.take().unwrap()).lines();
    let mut refused = BufReader::new(consumer.stderr.take().unwrap()).lines();
    let mut line = async || timeout(DEADLINE, said.next_line()).await.unwrap().unwrap().unwrap();
    assert_eq!(line().await, "listening to rates.>");

    let (one, two) = (Process::join(BrokerKind::Nats, &broker), Process::join(BrokerKind::Nats, &broker));
    one.rate(100);
    assert_eq!(line().await, "BTC_USD bid 1 ask 100 (fresh, kraken)");
    // Another key: it is refused.
    let stranger = Process::start_with(target(BrokerKind::Nats, &broker.url(), None), &[b'x'; 32], &["rates.>"]);
    stranger.rate(666);
    let refusal = timeout(DEADLINE, refused.next_line()).await.unwrap().unwrap().unwrap();
    assert_eq!(refusal, "rates.kraken.BTC_USD: a message that is not signed with a key of ours");
    one.rate(101);
    assert_eq!(line().await, "BTC_USD bid 1 ask 101 (fresh, kraken)");
    // Who speaks next is heard after the goodbye.
    two.rate(200);
    one.stop().await;
    assert_eq!(line().await, "BTC_USD bid 1 ask 200 (fresh, kraken)");
    assert!(timeout(DEADLINE, consumer.wait()).await.unwrap().unwrap().success());
    for process in [two, stranger] {
        process.stop().await;
    }
}
