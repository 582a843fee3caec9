//! Kraken's public WebSocket v2 ticker as a source of rates.
