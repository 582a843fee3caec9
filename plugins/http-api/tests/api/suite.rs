// What is the same on every kind of database.

mod accounts;
mod bodies;
mod harness;
mod history;
mod privileges;
mod refresh;
mod routes;
mod scheduled;
mod sessions;
mod spreads;
mod startup;
mod throttle;
mod tokens;
mod update_rates;
mod users;
