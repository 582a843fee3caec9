use std::{fs::File, io::Read, path::Path};

use flate2::read::GzDecoder;
use ratebus_sdk::feed::{Decode, DecodeError, FeedEvent};

/// The frames of a recording, `coinbase/exchange_ws_session_20260919.jsonl`, in order of receipt. Recordings are no part of
/// the repository: where they are not beside it there are no frames, which the test's output says.
pub fn recorded(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures").join(name);
    let Ok(mut file) = File::open(&path) else {
        eprintln!("SKIPPED: the recording {name} is not here");
        return Vec::new();
    };
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
    } else {
        file.read_to_string(&mut text).unwrap();
    }
    text.lines().map(str::to_owned).collect()
}

/// The text after `before` in a frame, up to what ends a number or a string: what stands there, without any parser.
pub fn text_after<'f>(frame: &'f str, before: &str) -> Option<&'f str> {
    let (_, rest) = frame.split_once(before)?;
    Some(rest.trim_start_matches('"').split(['"', ',', '}', ']']).next().unwrap())
}

/// What a frame means.
///
/// # Errors
/// Those of the decoder.
pub fn decoded<'f>(decoder: &mut dyn Decode, frame: &'f str) -> Result<Vec<FeedEvent<'f>>, DecodeError> {
    let mut events = Vec::new();
    decoder.decode(frame, &mut events).map(|()| events)
}

/// Whatever a frame becomes on its way, it is no panic; and cut off anywhere, it is no price.
pub fn withstands(decoder: &mut dyn Decode, frames: &[&str]) {
    for frame in frames {
        let ends = frame.char_indices().map(|(end, _)| end);
        for end in ends {
            let events = decoded(decoder, &frame[..end]).unwrap_or_default();
            assert!(!events.iter().any(|event| matches!(event, FeedEvent::Tick(_))), "{}", &frame[..end]);
            for odd in ["[", "{", "null", "\"", "\\u0000", "-1", "9e999"] {
                let _ = decoded(decoder, &format!("{}{odd}{}", &frame[..end], &frame[end..]));
            }
        }
    }
}
