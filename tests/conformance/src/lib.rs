//! What every plugin must do, and what every source that follows an exchange must do beside it, whatever its protocol: the
//! same tests for all, over real sockets, against a scripted exchange that speaks as the real one does.
//!
//! | | holds |
//! |---|---|
//! | [`plugin_suite!`] | any source or sink: its config, its start and end, silence, nonsense in its inbox, a bus that is full |
//! | [`suite!`] | beside that a source that follows an exchange over a WebSocket |
//! | [`http_suite!`] | beside that a source that asks one over HTTP |
//!
//! ```ignore
//! ratebus_conformance::suite!(
//!     Stream<Okx>,
//!     Venue {
//!         protocol: &ratebus_test_exchange::Okx,
//!         pairs: [("BTC_USDT", "BTC-USDT"), ("ETH_USDT", "ETH-USDT"), ("NOPE_USDT", "NOPE-USDT")],
//!         unlisted: "refused: ",
//!         config: "{}",
//!     }
//! );
//!
//! ratebus_conformance::plugin_suite!(sink Announcer, Plugin::new(|_| json!({"listener": "web"})).on("web"));
//! ```
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what fails must fail the test"
)]

mod component;
#[doc(hidden)]
pub mod http;
#[doc(hidden)]
pub mod plugin;
mod recorded;
mod running;
#[doc(hidden)]
pub mod stream;
mod unpaced;

pub use component::{AsSink, AsSource, Component};
pub use http::{HttpVenue, Listed};
pub use plugin::Plugin;
pub use recorded::{decoded, recorded, text_after, withstands};
pub use running::Running;
pub use stream::Venue;
pub use unpaced::Unpaced;

/// The tests of every plugin for one: `source` or `sink`, a type that is a [`Factory`](ratebus_sdk::Factory) and that, and
/// its [`Plugin`].
#[macro_export]
macro_rules! plugin_suite {
    (source $source:ty, $plugin:expr $(,)?) => {
        $crate::plugin_suite!(@as $crate::AsSource<$source>, $plugin);
    };
    (sink $sink:ty, $plugin:expr $(,)?) => {
        $crate::plugin_suite!(@as $crate::AsSink<$sink>, $plugin);
    };
    (@as $component:ty, $plugin:expr) => {
        $crate::each_case!(plugin, $component, $plugin,
            an_unknown_key_is_refused_by_name,
            its_inbox_is_bounded_and_holds_nobody_up,
            it_goes_on_until_it_is_told_to_stop_and_starts_again,
            it_stops_before_it_is_ready,
            a_bus_that_is_full_holds_up_nothing,
            it_leaves_nothing_behind,
        );
    };
}

/// The tests of one source that follows an exchange over a WebSocket: a type that is both a [`Factory`](ratebus_sdk::Factory)
/// and a [`Source`](ratebus_sdk::Source), and its [`Venue`]. Those of every plugin are among them.
#[macro_export]
macro_rules! suite {
    ($source:ty, $venue:expr $(,)?) => {
        $crate::plugin_suite!(source $source, $venue.plugin());
        $crate::each_case!(stream, $source, $venue,
            the_first_rates_come_digit_for_digit,
            every_kind_of_end_leads_to_a_new_connection_with_all_pairs,
            an_exchange_that_is_down_is_found_again,
            a_connection_that_hangs_is_replaced_and_its_rates_age_meanwhile,
            a_quiet_market_stays_fresh_on_one_connection,
            garbage_is_dropped_and_counted_and_the_feed_goes_on,
            what_is_no_price_is_refused_and_the_last_good_one_stays,
            symbols_we_did_not_ask_for_are_dropped,
            an_unanswered_request_is_repeated,
            an_unknown_pair_is_named_and_costs_the_others_nothing,
            a_burst_ends_at_the_newest_price,
            prices_go_on_while_the_bus_is_full,
            it_stops_at_once_whatever_it_is_doing,
        );
    };
}

/// As [`suite!`], for a source that asks over HTTP and its [`HttpVenue`].
#[macro_export]
macro_rules! http_suite {
    ($source:ty, $venue:expr $(,)?) => {
        $crate::plugin_suite!(source $source, $venue.plugin());
        $crate::each_case!(http, $source, $venue,
            prices_come_digit_for_digit,
            an_unknown_pair_is_named_and_costs_the_others_nothing,
            a_useless_answer_is_named_and_the_next_good_one_is_taken,
            an_answer_that_takes_too_long_is_given_up,
            an_exchange_that_is_down_is_found_again,
            the_pause_that_is_asked_for_is_kept,
            what_is_no_price_is_refused_and_the_last_good_one_stays,
            prices_go_on_while_the_bus_is_full,
            it_stops_at_once_whatever_it_is_doing,
        );
    };
}

/// A test of each of these cases of a suite.
#[doc(hidden)]
#[macro_export]
macro_rules! each_case {
    ($suite:ident, $subject:ty, $about:expr, $($case:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::$suite::cases::$case::<$subject>(&$about).await;
            }
        )*
    };
}
