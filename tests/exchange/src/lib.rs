//! A scripted exchange.
