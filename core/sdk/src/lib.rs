//! What a plugin is written against: sources, sinks, their context and their settings.
