//! What is taken from a client.
