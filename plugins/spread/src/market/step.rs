use ratebus_sdk::model::{Price, pricing};

/// What a pair's customer prices are multiples of: as configured, or as fine as any price so far.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    configured: Option<Price>,
    finest: u32,
}

impl Step {
    pub(crate) fn new(configured: Option<Price>) -> Self {
        Self { configured, finest: 0 }
    }

    /// A price with so many decimals came.
    pub(crate) fn see(&mut self, scale: u32) {
        self.finest = self.finest.max(scale);
    }

    /// The most decimals of any price so far.
    pub(crate) fn finest(&self) -> u32 {
        self.finest
    }

    pub(crate) fn size(&self) -> Price {
        self.configured.unwrap_or_else(|| pricing::step_of_scale(self.finest))
    }
}
