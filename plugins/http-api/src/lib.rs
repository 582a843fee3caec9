//! Rates, accounts and spreads over HTTP, and the page.
