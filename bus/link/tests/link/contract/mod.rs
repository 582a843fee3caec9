//! The bus' contract: what holds between processes, whether they share memory or a broker.

mod delivery;
mod groups;
mod requests;

use delivery::*;
use groups::*;
use requests::*;

use super::*;

/// Where buses of several processes meet.
trait Backend {
    /// A process more, once it hears everybody.
    async fn join(&self) -> Process;
}

/// All in one process.
struct Memory(Bus);

impl Backend for Memory {
    async fn join(&self) -> Process {
        Process::alone(self.0.clone())
    }
}

/// Each with a link to a broker.
struct Joined(BrokerKind, Broker);

impl Backend for Joined {
    async fn join(&self) -> Process {
        let process = Process::join(self.0, &self.1);
        process.ready().await;
        process
    }
}

/// Each test over each backend.
macro_rules! over_each_backend {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Memory(super::Bus::new(super::BusConfig::default()))).await;
            })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $test() {
                let kind = super::BrokerKind::Redis;
                super::$test(super::Joined(kind, super::start(kind))).await;
            })*
        }
        mod nats {
            $(#[tokio::test]
            async fn $test() {
                let kind = super::BrokerKind::Nats;
                super::$test(super::Joined(kind, super::start(kind))).await;
            })*
        }
    };
}

async fn stop(processes: impl IntoIterator<Item = Process>) {
    for process in processes {
        process.stop().await;
    }
}

over_each_backend!(
    each_reader_has_what_each_publisher_says_in_order,
    a_message_arrives_as_it_was_published,
    what_is_not_read_is_conflated_under_each_subject,
    a_full_inbox_drops_what_its_policy_says,
    a_pattern_matches_its_subjects_alone,
    the_last_value_comes_first_and_nothing_older_after_it,
    a_closed_bus_ends_what_was_asked_of_it,
    one_member_of_each_group_has_each_message,
    members_share_what_says_how_something_is,
    who_publishes_in_turn_is_served_in_turn,
    a_member_that_left_has_nothing_and_the_others_everything,
    an_answer_goes_to_the_request_it_answers,
    one_member_answers,
    without_anybody_who_listens_the_error_comes_at_once,
    who_listens_and_does_not_answer_is_waited_for,
);
