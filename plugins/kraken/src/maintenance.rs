use serde::Deserialize;

/// The exchange's announcements of maintenance: each phase of each is logged once, however often it is repeated.
#[derive(Default)]
pub(crate) struct Announcements {
    /// Event and phase of those logged, the oldest first.
    logged: Vec<(u64, String)>,
}

/// One announcement; only what people need to plan by.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Announcement {
    event_id: u64,
    phase: String,
    title: String,
    expected_start_utc: String,
    expected_end_utc: String,
}

impl Announcements {
    /// How many are remembered, and how many one frame may hold: far more than Kraken announces in its 72 hours.
    const MOST: usize = 64;

    /// Takes the JSON array of announcements. One that cannot be read is nobody's loss: it is for people only.
    pub(crate) fn note(&mut self, json: &str) {
        let Ok(announcements) = serde_json::from_str::<Vec<Announcement>>(json) else { return };
        for Announcement { event_id, phase, title, expected_start_utc: start, expected_end_utc: end } in
            announcements.into_iter().take(Self::MOST)
        {
            let key = (event_id, phase);
            if self.logged.contains(&key) {
                continue;
            }
            let phase = &key.1;
            tracing::info!(event_id, phase, title, start, end, "the exchange announces maintenance");
            if self.logged.len() == Self::MOST {
                self.logged.remove(0);
            }
            self.logged.push(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_is_taken_once_and_the_memory_is_bounded() {
        let mut announcements = Announcements::default();
        let json = r#"[{"event_id":5,"phase":"announced","title":"t","time_to_start_s":9,"new":[]}]"#;
        announcements.note(json);
        announcements.note(json);
        announcements.note(&json.replace("announced", "imminent_5m"));
        assert_eq!(announcements.logged.len(), 2);
        for event in 10..200 {
            announcements.note(&json.replace(":5,", &format!(":{event},")));
        }
        assert_eq!(announcements.logged.len(), Announcements::MOST);
        announcements.note("[[],3,null]");
        announcements.note("nonsense");
    }
}
