use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::Duration,
};

use ratebus_model::Timestamp;
use serde::Deserialize;

/// What an exchange sent, and when.
#[derive(Debug)]
pub(crate) struct Recording {
    /// Whose frames they are.
    pub(crate) exchange: String,
    /// When it began, by the exchange's clock.
    pub(crate) started: Timestamp,
    /// In the order of receipt.
    pub(crate) frames: Vec<Recorded>,
}

/// One frame.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// How long after the beginning it was received.
    pub(crate) at: Duration,
    /// The text as it was.
    pub(crate) text: String,
}

/// The first line of the file.
#[derive(Deserialize)]
struct Header {
    recording: String,
    exchange: String,
    started: Timestamp,
}

/// Every other line.
#[derive(Deserialize)]
struct Line {
    at_ms: u64,
    /// A string that holds the frame: as JSON in JSON its numbers would not keep their digits in every tool.
    frame: String,
}

impl Recording {
    /// Made by `examples/record`; see `recordings/README.md`.
    const KRAKEN: &str = include_str!("../recordings/kraken-demo.jsonl");
    const FORMAT: &str = "ratebus/1";
    /// The largest file taken, as it is held in memory: hours of a busy feed.
    const MOST_BYTES: u64 = 256 << 20;

    /// Reads the recording of that name in the config. The error is for people.
    pub(crate) fn open(name: &str) -> Result<Self, String> {
        match name.strip_prefix("builtin:") {
            Some("kraken") => Self::parse(Self::KRAKEN),
            Some(_) => Err("the only one built in is builtin:kraken".to_owned()),
            None => Self::parse(&read(Path::new(name)).map_err(|error| format!("{name}: {error}"))?),
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate();
        let (_, first) = lines.next().ok_or("it is empty")?;
        let header: Header = serde_json::from_str(first).map_err(|error| format!("line 1 is no header: {error}"))?;
        if header.recording != Self::FORMAT {
            return Err(format!("its format is {:?}, and {:?} is expected", header.recording, Self::FORMAT));
        }
        let mut frames: Vec<Recorded> = Vec::new();
        for (index, line) in lines {
            let problem = |what: &str| format!("line {}: {what}", index + 1);
            let line: Line = serde_json::from_str(line).map_err(|error| problem(&error.to_string()))?;
            let at = Duration::from_millis(line.at_ms);
            if frames.last().is_some_and(|last| last.at > at) {
                return Err(problem("at_ms is less than on the line before"));
            }
            frames.push(Recorded { at, text: line.frame });
        }
        if frames.is_empty() {
            return Err("it has no frames".to_owned());
        }
        Ok(Self { exchange: header.exchange, started: header.started, frames })
    }

    /// From its beginning to its last frame.
    pub(crate) fn length(&self) -> Duration {
        self.frames.last().map_or(Duration::ZERO, |last| last.at)
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(Recording::MOST_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > Recording::MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 256 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_recording_is_told_by_its_line() {
        let header = r#"{"recording":"ratebus/1","exchange":"kraken","started":"2026-01-01T00:00:00Z","note":"any"}"#;
        let cases = [
            (String::new(), "empty"),
            ("{}".to_owned(), "line 1"),
            (header.replace("ratebus/1", "ratebus/9"), "ratebus/9"),
            (header.to_owned(), "no frames"),
            (format!("{header}\n{{\"at_ms\":-1,\"frame\":\"\"}}"), "line 2"),
            (format!("{header}\n{{\"at_ms\":2,\"frame\":\"\"}}\n{{\"at_ms\":1,\"frame\":\"\"}}"), "line 3"),
        ];
        for (text, expected) in cases {
            let error = Recording::parse(&text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(Recording::open("/nonexistent.jsonl").unwrap_err().contains("/nonexistent.jsonl"));
        assert!(Recording::open("builtin:other").is_err());
    }
}
