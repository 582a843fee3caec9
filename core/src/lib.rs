//! The engine: config, registry, supervision, listeners and shutdown.
