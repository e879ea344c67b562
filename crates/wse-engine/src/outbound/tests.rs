//! Unit tests of the outbound queue.

use super::*;
use crate::frame::{Payload, Standing};
use crate::policy::{Policies, Policy};
use crate::topics::Topics;
use proptest::prelude::*;
use std::num::NonZeroU64;
use wse_protocol::frame::OpCode;

const LIMITS: OutboundLimits = OutboundLimits { max_messages: 4, max_bytes: 0, slow_timeout_ms: 10_000 };

fn text(payload: &str) -> Frame {
    Frame::new(OpCode::Text, payload.as_bytes(), None)
}

fn standing(payload: &str, standing: Standing) -> Frame {
    let mut bytes = Payload::room(payload.len());
    bytes.extend_from_slice(payload.as_bytes());
    Payload::new(OpCode::Text, bytes, None, None).standing(standing).into_frame(None).0
}

fn urgent(payload: &str, priority: Priority) -> Frame {
    standing(payload, Standing { priority, ..Standing::default() })
}

fn pong(payload: &str) -> Frame {
    Frame::new(OpCode::Pong, payload.as_bytes(), None)
}

fn terms(limits: &OutboundLimits, now: u64) -> Terms<'_> {
    Terms { limits, now, is_single: false, may_block: true }
}

/// A topic whose publications wait as `policy` says.
fn topic(policy: Policy) -> Arc<Topic> {
    named("a", policy)
}

fn named(name: &str, policy: Policy) -> Arc<Topic> {
    let policies = Arc::new(Policies::new([(vec!["*".into()], policy)]));
    Topics::new(1, None, policies, Arc::default()).want(name, 0)
}

fn overflowing(overflow: Overflow) -> Arc<Topic> {
    topic(Policy { overflow, ..Policy::default() })
}

/// A queue without anything in progress.
fn with(frames: &[Frame]) -> Outbound {
    let mut queue = Outbound::default();
    queue.resume(frames.iter().map(|frame| (frame, None)), 0, false);
    queue
}

/// What waits, in the order in which it would leave.
fn waiting(queue: &Outbound) -> Vec<String> {
    queue.lanes.frames().map(|frame| String::from_utf8_lossy(frame.payload()).into_owned()).collect()
}

fn drain(queue: &mut Outbound, step: usize) -> Vec<u8> {
    let (mut all, mut joined) = (Vec::new(), Vec::new());
    loop {
        let taken = {
            let next = queue.next(&mut joined, 64);
            let taken = next.len().min(step);
            all.extend_from_slice(&next[..taken]);
            taken
        };
        if taken == 0 {
            return all;
        }
        queue.advance(taken, &LIMITS, 0);
    }
}

fn bytes(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.bytes().to_vec()).collect()
}

#[test]
fn control_frames_go_first_between_whole_frames() {
    for step in 1..40 {
        let mut queue = Outbound::default();
        let frames = [text("first"), text("second")];
        queue.resume(frames.iter().map(|frame| (frame, None)), 3, false);
        queue.push_control(&pong("p"));
        queue.push_control(&pong("q"));
        let expected = bytes(&[text("first"), pong("q"), text("second")]);
        assert_eq!(drain(&mut queue, step), expected[3..], "in steps of {step}");
        assert!(queue.is_empty());
        assert_eq!(queue.bytes(), 0);
    }
}

#[test]
fn a_higher_lane_leaves_first_between_whole_frames() {
    for step in 1..40 {
        let low = [text("started"), urgent("last", Priority::Low), text("third")];
        let mut queue = Outbound::default();
        queue.resume(low.iter().map(|frame| (frame, None)), 2, false);
        let high = urgent("second", Priority::High);
        assert!(queue.push(&high, None, &terms(&LIMITS, 0)).is_queued);
        let [started, last, third] = low;
        assert_eq!(drain(&mut queue, step), bytes(&[started, high, third, last])[2..]);
    }
}

#[test]
fn a_close_is_the_last_word_whatever_was_said_before_it() {
    let close = Frame::control(OpCode::Close, b"");
    let low = urgent("low", Priority::Background);
    let mut queue = with(&[low.clone(), text("n"), close.clone()]);
    assert_eq!(drain(&mut queue, 100), bytes(&[text("n"), low, close]));
}

#[test]
fn refuses_the_newcomer_among_its_equals_and_tells_once_there_is_room() {
    let mut queue = Outbound::default();
    for n in 0..4 {
        assert!(queue.push(&text(&n.to_string()), None, &terms(&LIMITS, 0)).is_queued);
    }
    for (now, late) in [(5, "late"), (6, "later")] {
        let outcome = queue.push(&text(late), None, &terms(&LIMITS, now));
        assert_eq!((outcome.is_queued, outcome.lost), (false, 1));
    }
    assert_eq!((queue.full_since(), queue.refuses()), (Some(5), Some(Priority::Normal)));
    assert_eq!(queue.closes_at(&LIMITS), Some(10_005));
    assert!(queue.take_missed().is_empty());
    queue.advance(3 + 3, &LIMITS, 0);
    assert_eq!((queue.full_since(), queue.refuses()), (None, None));
    assert_eq!(queue.take_missed()[0].count, 2);
}

#[test]
fn the_least_important_gives_way_and_of_it_the_oldest() {
    use Priority::{Background, Critical, High, Low, Normal};
    let newcomers = [("a", Low), ("b", Background), ("c", Background), ("d", Normal)];
    let mut queue = Outbound::default();
    let mut come = |name: &str, priority| {
        let outcome = queue.push(&urgent(name, priority), None, &terms(&LIMITS, 1));
        (outcome.is_queued, outcome.lost, waiting(&queue).concat())
    };
    for (name, priority) in newcomers {
        come(name, priority);
    }
    for (name, priority, expected) in [
        ("e", Low, (true, 1, "daec")),
        ("f", Background, (false, 1, "daec")),
        ("g", High, (true, 1, "gdae")),
        ("h", High, (true, 1, "ghde")),
        ("i", Low, (false, 1, "ghde")),
        ("j", Critical, (true, 1, "jghd")),
        ("k", High, (true, 1, "jghk")),
        // Only the two highest are left: nothing but a critical one gets in, in place of the other.
        ("l", High, (false, 1, "jghk")),
        ("m", Critical, (true, 1, "jmhk")),
        ("n", Critical, (true, 1, "jmnk")),
        ("o", Critical, (true, 1, "jmno")),
        ("p", Critical, (false, 1, "jmno")),
    ] {
        assert_eq!(come(name, priority), (expected.0, expected.1, expected.2.to_owned()), "{name}");
    }
    assert_eq!(queue.full_since(), Some(1));
    let told = queue.missed.take().iter().map(|missed| missed.count).sum::<u64>();
    assert_eq!(told, 12);
}

#[test]
fn nothing_is_given_up_for_what_would_not_fit_anyway() {
    let limits = OutboundLimits { max_messages: 0, max_bytes: 30, slow_timeout_ms: 0 };
    let mut queue = with(&[urgent("low", Priority::Low), text("0123456789")]);
    let outcome = queue.push(&urgent(&"x".repeat(40), Priority::Critical), None, &terms(&limits, 1));
    assert_eq!((outcome.is_queued, outcome.lost, waiting(&queue).len()), (false, 1, 2));
}

#[test]
fn the_engines_own_words_are_never_given_up() {
    let own = Frame::own(b"reply", Priority::Background, None);
    let mut queue = with(&[own.clone(), own.clone(), own.clone(), own]);
    let outcome = queue.push(&urgent("x", Priority::Critical), None, &terms(&LIMITS, 1));
    assert!(!outcome.is_queued);
    assert!(queue.tell(&Frame::own(b"gap", Priority::Normal, None), &terms(&LIMITS, 1)));
    assert_eq!(waiting(&queue), ["gap", "reply", "reply", "reply", "reply"]);
}

#[test]
fn a_ring_keeps_the_newest_of_its_topic() {
    let ring = overflowing(Overflow::Ring(2));
    let mut queue = with(&[text("x")]);
    for n in ["1", "2", "3", "4"] {
        assert!(queue.push(&text(n), Some(&ring), &terms(&LIMITS, 1)).is_queued);
    }
    assert_eq!(waiting(&queue), ["x", "3", "4"]);
    assert_eq!((queue.full_since(), queue.take_missed()[0].count), (None, 2));
    // Also where the queue has no room for other reasons.
    queue.push(&text("y"), None, &terms(&LIMITS, 1));
    queue.push(&text("z"), None, &terms(&LIMITS, 1));
    assert!(queue.push(&text("5"), Some(&ring), &terms(&LIMITS, 1)).is_queued);
    assert_eq!(waiting(&queue), ["x", "4", "y", "5"]);
}

#[test]
fn of_each_key_the_newest_waits_in_the_place_of_the_one_before() {
    let latest = overflowing(Overflow::Latest(None));
    let keyed =
        |name: &str, key| standing(name, Standing { key: NonZeroU64::new(key), ..Standing::default() });
    let mut queue = with(&[text("x")]);
    for (name, key) in [("a1", 1), ("b1", 2), ("a2", 1), ("none", 0), ("a3", 1), ("b2", 2)] {
        assert_eq!(queue.push(&keyed(name, key), Some(&latest), &terms(&LIMITS, 1)).lost, 0);
    }
    assert_eq!(waiting(&queue), ["x", "a3", "b2", "none"]);
    assert!(queue.take_missed().is_empty(), "what a newer one replaces is no gap");
    assert!(!queue.push(&text("late"), None, &terms(&LIMITS, 1)).is_queued);
    assert!(
        queue.push(&keyed("a4", 1), Some(&latest), &terms(&LIMITS, 1)).is_queued,
        "also while it is full"
    );
    assert!(!queue.push(&keyed("c1", 3), Some(&latest), &terms(&LIMITS, 1)).is_queued);
}

#[test]
fn a_blocking_topic_is_never_given_up_and_holds_its_publisher_up() {
    let block = overflowing(Overflow::Block(1_000));
    let mut queue = Outbound::default();
    for n in 0..8 {
        assert!(queue.push(&text(&n.to_string()), Some(&block), &terms(&LIMITS, n)).is_queued, "up to twice");
        assert_eq!(block.brake().is_on(), n >= 4);
    }
    assert_eq!(queue.closes_at(&LIMITS), Some(1_004));
    assert_eq!(queue.complaint(1_003), "too slow: the outbound queue stayed full");
    assert_eq!(queue.complaint(1_004), "too slow: publishers waited for too long");
    let urgent = urgent("x", Priority::Critical);
    assert!(!queue.push(&urgent, None, &terms(&LIMITS, 8)).is_queued, "not even for that");
    queue.advance(6 * 3, &LIMITS, 0);
    assert_eq!((block.brake().is_on(), queue.closes_at(&LIMITS)), (false, None));
    for n in 0..7 {
        queue.push(&text(&n.to_string()), Some(&block), &terms(&LIMITS, 9));
    }
    assert_eq!(queue.closes_at(&LIMITS), Some(9), "what cannot be kept is no gap, it is the end");
    assert_eq!(queue.complaint(9), "too slow: there was no room for what must not be missed");
    drop(queue);
    assert!(!block.brake().is_on());
}

#[test]
fn a_topic_that_disconnects_ends_the_connection_at_its_first_loss() {
    let disconnect = overflowing(Overflow::Disconnect);
    let mut queue = Outbound::default();
    for n in 0..4 {
        assert!(queue.push(&text(&n.to_string()), Some(&disconnect), &terms(&LIMITS, 1)).is_queued);
    }
    assert_eq!(queue.closes_at(&LIMITS), None);
    queue.push(&urgent("x", Priority::High), None, &terms(&LIMITS, 7));
    queue.advance(4 * 3, &LIMITS, 0);
    assert_eq!(queue.closes_at(&LIMITS), Some(7), "it was given up for something else");
}

#[test]
fn what_is_worth_nothing_any_more_makes_room_and_is_told() {
    let timed =
        |name: &str, at| standing(name, Standing { expires: NonZeroU64::new(at), ..Standing::default() });
    let mut queue = with(&[timed("a", 10), text("b"), timed("c", 20), timed("d", 10)]);
    assert!(queue.push(&text("e"), None, &terms(&LIMITS, 10)).is_queued);
    assert_eq!(waiting(&queue), ["b", "c", "e"]);
    assert_eq!(queue.expire(19, &LIMITS), 0);
    assert_eq!(queue.expire(20, &LIMITS), 1);
    let missed = queue.take_missed();
    assert_eq!((missed[0].reason, missed[0].count), (Reason::Expired, 3));
}

#[test]
fn a_topic_with_a_log_falls_back_to_it_from_the_first_that_is_given_up() {
    let (logged, other) = (topic(Policy::default()), named("b", Policy::default()));
    let of_log = |index| standing("log", Standing { index, priority: Priority::Low, ..Standing::default() });
    let mut queue = Outbound::default();
    queue.push(&of_log(5), Some(&logged), &terms(&LIMITS, 1));
    queue.push(&of_log(3), Some(&other), &terms(&LIMITS, 1));
    queue.push(&text("x"), None, &terms(&LIMITS, 1));
    queue.push(&of_log(6), Some(&logged), &terms(&LIMITS, 1));
    let outcome = queue.push(&text("y"), None, &terms(&LIMITS, 1));
    assert_eq!((outcome.lost, outcome.fallen_back.len(), outcome.fallen_back[0].1), (0, 1, 5));
    assert!(Arc::ptr_eq(&outcome.fallen_back[0].0, &logged));
    assert_eq!(waiting(&queue), ["log", "x", "y"], "what follows in the log would overtake");
    assert_eq!(queue.push(&of_log(4), Some(&other), &terms(&LIMITS, 1)).fallen_back[0].1, 4);
    assert_eq!(waiting(&queue), ["log", "x", "y"], "what came before it stays");
}

#[test]
fn what_has_made_room_for_another_one_of_its_log_is_not_overtaken_by_it() {
    let logged = topic(Policy::default());
    let of_log = |index, priority| standing("log", Standing { index, priority, ..Standing::default() });
    let mut queue = Outbound::default();
    for n in 0..3 {
        queue.push(&text(&n.to_string()), None, &terms(&LIMITS, 1));
    }
    queue.push(&of_log(3, Priority::Low), Some(&logged), &terms(&LIMITS, 1));
    let outcome = queue.push(&of_log(4, Priority::High), Some(&logged), &terms(&LIMITS, 1));
    assert_eq!((outcome.is_queued, outcome.lost, outcome.fallen_back[0].1), (false, 0, 3));
    assert_eq!(waiting(&queue), ["0", "1", "2"]);
}

#[test]
fn a_log_that_began_anew_falls_back_behind_the_one_before_and_never_before_it() {
    let (before, after) = (topic(Policy::default()), topic(Policy::default()));
    let of_log = |index, priority| standing("log", Standing { index, priority, ..Standing::default() });
    let places = |outcome: Outcome, topics: [&Arc<Topic>; 2]| {
        let place = |topic| topics.iter().position(|it| Arc::ptr_eq(it, topic));
        outcome.fallen_back.iter().map(|(topic, index)| (place(topic), *index)).collect::<Vec<_>>()
    };
    for is_first in [true, false] {
        let importance = |is_low| if is_low { Priority::Low } else { Priority::Normal };
        let mut queue = Outbound::default();
        queue.push(&of_log(7, importance(is_first)), Some(&before), &terms(&LIMITS, 1));
        queue.push(&of_log(8, Priority::Normal), Some(&before), &terms(&LIMITS, 1));
        queue.push(&of_log(1, importance(!is_first)), Some(&after), &terms(&LIMITS, 1));
        queue.push(&of_log(2, Priority::Normal), Some(&after), &terms(&LIMITS, 1));
        let outcome = queue.push(&text("x"), None, &terms(&LIMITS, 1));
        let (expected, left) = match is_first {
            true => (vec![(Some(0), 7), (Some(1), 1)], 1),
            false => (vec![(Some(1), 1)], 3),
        };
        assert_eq!((places(outcome, [&before, &after]), queue.len()), (expected, left));
    }
    let mut queue = Outbound::default();
    for index in 7..11 {
        queue.push(&of_log(index, Priority::Normal), Some(&before), &terms(&LIMITS, 1));
    }
    let outcome = queue.push(&of_log(1, Priority::Normal), Some(&after), &terms(&LIMITS, 1));
    assert_eq!((places(outcome, [&before, &after]), queue.len()), (vec![(Some(1), 1)], 4));
    let outcome = queue.push(&of_log(2, Priority::High), Some(&after), &terms(&LIMITS, 1));
    assert_eq!(places(outcome, [&before, &after]), [(Some(0), 7), (Some(1), 2)]);
}

#[test]
fn what_the_engine_has_spoken_of_leaves_before_its_word() {
    let logged = topic(Policy::default());
    let of_log = |index| standing("log", Standing { index, priority: Priority::Low, ..Standing::default() });
    let mut queue = Outbound::default();
    queue.push(&of_log(5), Some(&logged), &terms(&LIMITS, 1));
    queue.tell(&Frame::own(b"answer", Priority::Normal, None), &terms(&LIMITS, 1));
    queue.push(&of_log(6), Some(&logged), &terms(&LIMITS, 1));
    for _ in 0..2 {
        queue.push(&text("x"), None, &terms(&LIMITS, 1));
    }
    assert_eq!(waiting(&queue), ["log", "answer", "x", "x"], "only what came behind it may go");
    assert!(!queue.push(&text("y"), None, &terms(&LIMITS, 1)).is_queued);
}

#[test]
fn a_closing_connection_keeps_only_the_frame_in_progress() {
    let mut queue = Outbound::default();
    let frames = [text("first"), text("second")];
    queue.resume(frames.iter().map(|frame| (frame, None)), 2, false);
    queue.abandon();
    queue.push_control(&pong("bye"));
    assert_eq!(drain(&mut queue, 1_000), bytes(&[text("first"), pong("bye")])[2..]);
}

#[test]
fn what_has_no_place_in_the_log_takes_the_room_of_its_own_topics_publications_and_waits() {
    let logged = topic(Policy::default());
    let of_log = |index| standing("log", Standing { index, priority: Priority::Low, ..Standing::default() });
    let mut queue = Outbound::default();
    for index in 1..5 {
        queue.push(&of_log(index), Some(&logged), &terms(&LIMITS, 1));
    }
    let outcome = queue.push(&text("plain"), Some(&logged), &terms(&LIMITS, 1));
    assert_eq!((outcome.is_queued, outcome.lost, outcome.fallen_back[0].1), (true, 0, 1));
    assert_eq!(waiting(&queue), ["plain"]);
}

#[test]
fn a_hole_in_a_log_is_taken_back_with_what_was_before_it() {
    let logged = topic(Policy::default());
    let of_log = |index| standing("log", Standing { index, priority: Priority::Low, ..Standing::default() });
    let mut queue = with(&[text("1"), text("2"), text("3")]);
    queue.push(&of_log(4), Some(&logged), &terms(&LIMITS, 1));
    let topic = Some(Arc::clone(&logged));
    let hole =
        Missed { topic, lane: Priority::Normal, reason: Reason::Overload, count: 1, offsets: Some((5, 5)) };
    queue.miss(hole);
    assert_eq!(queue.push(&text("4"), None, &terms(&LIMITS, 1)).fallen_back[0].1, 4);
    queue.advance(3 + 3, &LIMITS, 1);
    assert!(queue.take_missed().is_empty(), "it is read again from there");
}

#[test]
fn a_reader_that_takes_anything_is_not_stuck() {
    let mut queue = with(&[text(&"x".repeat(100))]);
    queue.wait_behind(1);
    assert_eq!(queue.closes_at(&LIMITS), Some(10_001));
    queue.advance(5, &LIMITS, 9_000);
    assert_eq!(queue.closes_at(&LIMITS), Some(19_000), "a part of a frame has left");
    queue.advance(0, &LIMITS, 9_500);
    assert_eq!(queue.closes_at(&LIMITS), Some(19_000));
}

proptest! {
    #[test]
    fn bounds_hold_and_everything_leaves_in_order_or_is_told(
        steps in prop::collection::vec((0usize..7, 0usize..5, 1usize..40, any::<bool>()), 1..200),
        (max_messages, max_bytes) in (0usize..12, 0usize..300),
        is_single: bool,
    ) {
        let limits = OutboundLimits { max_messages, max_bytes, slow_timeout_ms: 0 };
        let terms = Terms { limits: &limits, now: 1, is_single, may_block: true };
        let topics = Priority::ALL.map(|priority| topic(Policy { priority, ..Policy::default() }));
        let mut queue = Outbound::default();
        let (mut left, mut joined, mut lost, mut told) = (Vec::new(), Vec::new(), 0, 0);
        let mut left_bytes = Vec::new();
        for (n, (action, importance, size, is_unicast)) in steps.iter().copied().enumerate() {
            if action == 0 {
                let next = queue.next(&mut joined, 64);
                let taken = next.len().min(size);
                left_bytes.extend_from_slice(&next[..taken]);
                queue.advance(taken, &limits, 0);
                told += queue.take_missed().iter().map(|missed| missed.count).sum::<u64>();
                continue;
            }
            let topic = &topics[(importance + action) % 5];
            let priority = Priority::ALL[importance];
            let payload = format!("{n:04}{}", "x".repeat(size));
            let highest = queue.lanes.all() - queue.lanes.spare_below(Priority::High);
            let outcome = queue.push(&urgent(&payload, priority), (!is_unicast).then_some(topic), &terms);
            lost += outcome.lost;
            prop_assert!(max_messages == 0 || queue.len() <= max_messages);
            prop_assert!(max_bytes == 0 || queue.bytes() <= max_bytes);
            if importance < 3 {
                prop_assert_eq!(highest, queue.lanes.all() - queue.lanes.spare_below(Priority::High));
            }
        }
        let limits = OutboundLimits { max_messages: 0, max_bytes: 0, slow_timeout_ms: 0 };
        while let next @ [_, ..] = queue.next(&mut joined, 64) {
            let taken = next.len();
            left_bytes.extend_from_slice(next);
            queue.advance(taken, &limits, 0);
        }
        queue.advance(0, &limits, 0);
        told += queue.take_missed().iter().map(|missed| missed.count).sum::<u64>();
        prop_assert_eq!(lost, told);
        prop_assert!(queue.is_empty() && queue.bytes() == 0 && queue.lanes.timed() == 0);
        // A header of two bytes each, then the number of the step.
        let mut rest = &left_bytes[..];
        while let [_, length, ..] = rest {
            left.push(std::str::from_utf8(&rest[2..6]).expect("digits").parse::<usize>().expect("digits"));
            rest = &rest[2 + usize::from(*length)..];
        }
        let pushed = steps.iter().filter(|step| step.0 != 0).count() as u64;
        prop_assert_eq!(left.len() as u64 + lost, pushed);
        // Within a lane nothing overtakes.
        for lane in 0..5 {
            let of_lane = left.iter().filter(|n| {
                let (action, importance, _, is_unicast) = steps[**n];
                is_single || lane == if is_unicast { importance } else { (importance + action) % 5 }
            });
            prop_assert!(of_lane.is_sorted());
        }
    }
}
