use tokio::sync::oneshot::error::TryRecvError;

use super::*;
use crate::event::{EventId, SourceName};

type Answer = oneshot::Receiver<Result<(), PublishError>>;

fn key(id: &str) -> EventKey {
    EventKey::new(&SourceName::try_new("s").expect("a name"), &EventId::try_new(id).expect("an id"))
}

fn in_flight(ids: &[&str], since: Instant) -> (InFlight, Vec<Answer>) {
    let mut in_flight = InFlight { first: 1, ..InFlight::default() };
    let answers = ids.iter().map(|id| {
        let (answer, answered) = oneshot::channel();
        let publish = Encoded { head: Vec::new(), header_bytes: 0, body: bytes::Bytes::new(), key: key(id) };
        in_flight.push(Request { publish, answer }, since);
        answered
    });
    let answers = answers.collect();
    (in_flight, answers)
}

fn keys(publishes: Vec<Publish>) -> Vec<EventKey> {
    publishes.into_iter().map(|publish| publish.key).collect()
}

#[tokio::test]
async fn confirms_are_taken_by_their_numbers_in_any_order() {
    let (mut in_flight, _answers) = in_flight(&["1", "2", "3", "4", "5"], Instant::now());
    assert_eq!(keys(in_flight.take(2, false).expect("in flight")), [key("2")]);
    assert_eq!(keys(in_flight.take(3, true).expect("in flight")), [key("1"), key("3")]);
    assert_eq!((in_flight.first, in_flight.waiting), (4, 2));
    assert_eq!(keys(in_flight.take(5, false).expect("in flight")), [key("5")]);
    assert_eq!(keys(in_flight.take(4, false).expect("in flight")), [key("4")]);
    assert_eq!((in_flight.first, in_flight.waiting, in_flight.publishes.len()), (6, 0, 0));
}

#[tokio::test]
async fn a_confirm_for_nothing_in_flight_is_an_error() {
    let (mut in_flight, _answers) = in_flight(&["1", "2"], Instant::now());
    assert!(in_flight.take(0, true).is_err());
    assert!(in_flight.take(3, false).is_err());
    in_flight.take(1, true).expect("in flight");
    assert!(in_flight.take(1, false).is_err());
}

#[tokio::test]
async fn a_returned_message_is_found_by_its_id_and_so_are_its_twins() {
    let (mut in_flight, _answers) = in_flight(&["1", "2", "1"], Instant::now());
    in_flight.mark_returned(&key("1").to_string(), "no queue").expect("in flight");
    let returned: Vec<bool> =
        in_flight.take(3, true).expect("in flight").iter().map(|publish| publish.returned.is_some()).collect();
    assert_eq!(returned, [true, false, true]);
    assert!(in_flight.mark_returned(&key("1").to_string(), "no queue").is_err());
}

#[tokio::test]
async fn late_confirms_are_answered_once_and_end_the_session_if_they_are_many() {
    let (sent, late) = (Instant::now(), Instant::now() + CONFIRM_TIMEOUT);
    let (mut in_flight, mut answers) = in_flight(&["1", "2", "3"], sent);
    assert!(!in_flight.give_up_late(sent, true));
    assert_eq!(answers[0].try_recv(), Err(TryRecvError::Empty));
    assert!(!in_flight.give_up_late(late, false), "an alarm explains it");
    for answer in &mut answers {
        assert!(matches!(answer.try_recv(), Ok(Err(PublishError::OutcomeUnknown(_)))));
    }
    assert!(in_flight.take(2, true).expect("still known by their numbers").is_empty());
    assert_eq!((in_flight.first, in_flight.waiting), (3, 0));
    let (mut in_flight, _answers) = self::in_flight(&["1", "2", "3"], sent);
    assert!(in_flight.give_up_late(late, true));
}
