//! What every source that follows an exchange must do, whatever its protocol: the same tests for all, against a scripted
//! exchange that speaks as the real one does.
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
//! ```
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what fails must fail the test"
)]

#[doc(hidden)]
pub mod http;
mod recorded;
mod running;
mod suite;

pub use http::{HttpVenue, Listed};
pub use recorded::{decoded, recorded, text_after, withstands};
pub use running::Running;
pub use suite::{Venue, cases};

/// The tests of `suite` for one source: a type that is both a [`Factory`](ratebus_sdk::Factory) and a
/// [`Source`](ratebus_sdk::Source), and its [`Venue`].
#[macro_export]
macro_rules! suite {
    ($source:ty, $venue:expr) => {
        $crate::suite!(@each $source, $venue,
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
            it_stops_at_once_whatever_it_is_doing,
        );
    };
    (@each $source:ty, $venue:expr, $($case:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::cases::$case::<$source>(&$venue).await;
            }
        )*
    };
}

/// As [`suite!`], for a source that asks over HTTP and its [`HttpVenue`].
#[macro_export]
macro_rules! http_suite {
    ($source:ty, $venue:expr) => {
        $crate::http_suite!(@each $source, $venue,
            prices_come_digit_for_digit,
            an_unknown_pair_is_named_and_costs_the_others_nothing,
            a_useless_answer_is_named_and_the_next_good_one_is_taken,
            what_is_no_price_is_refused_and_the_last_good_one_stays,
            it_stops_at_once_whatever_it_is_doing,
        );
    };
    (@each $source:ty, $venue:expr, $($case:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::http::cases::$case::<$source>(&$venue).await;
            }
        )*
    };
}
