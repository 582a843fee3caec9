//! Writes a generated recording of Kraken's ticker to standard output:
//!
//! ```text
//! cargo run -p ratebus-replay --example record -- --seed 7 --seconds 60 > plugins/replay/recordings/kraken-demo.jsonl
//! ```

mod generate;

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let (mut seed, mut seconds) = (7, 60);
    let mut arguments = env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse().ok());
        match (name.as_str(), value) {
            ("--seed", Some(value)) => seed = value,
            ("--seconds", Some(value)) => seconds = value,
            _ => {
                eprintln!("usage: record [--seed NUMBER] [--seconds NUMBER]");
                return ExitCode::FAILURE;
            }
        }
    }
    print!("{}", generate::recording(seed, seconds));
    ExitCode::SUCCESS
}
