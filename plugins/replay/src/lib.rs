//! Recorded exchange frames, played again, as a source of rates.
