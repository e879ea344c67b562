//! Verifies that one member of a queue group gets each publication, whoever is slow, leaves or breaks off.

use crate::application::numbered;
use crate::client::{Client, PING, close, frame};
use crate::deflate;
use crate::random::for_each_seed;
use crate::world::{World, settings, value};
use std::collections::BTreeSet;
use std::num::NonZeroU64;
use wse_engine::config::OutboundLimits;
use wse_engine::frame::{Payload, Standing};
use wse_engine::presence::PresenceLimits;
use wse_engine::{Config, Reply};
use wse_protocol::envelope::Timestamp;
use wse_protocol::frame::OpCode;
use wse_protocol::rules::Rules;
use wse_protocol::ticket::Kind;

fn member(world: &mut World, group: &str) -> Client {
    let client = world.connect();
    world.join_group(client.key(), "jobs", group);
    world.settle();
    client
}

fn publish(world: &mut World, numbers: std::ops::Range<u64>) {
    for n in numbers {
        assert!(world.publish_number("jobs", n, 0));
        world.settle();
    }
}

fn dropped(world: &World) -> u64 {
    value(&world.shared.metrics.groups_dropped_total)
}

/// Everything that the clients got, in order of the numbers.
fn all(clients: &[&Client]) -> Vec<u64> {
    let mut numbers = clients.iter().flat_map(|client| client.numbers("jobs")).collect::<Vec<_>>();
    numbers.sort_unstable();
    numbers
}

fn every(number: u64) -> Vec<u64> {
    (0..number).collect()
}

#[test]
fn members_take_turns_and_who_holds_the_topic_gets_everything() {
    let mut world = World::new(settings());
    let workers = [(); 3].map(|()| member(&mut world, "workers"));
    let auditor = member(&mut world, "audit");
    let watcher = world.connect_to("jobs");
    publish(&mut world, 0..9);
    for (n, worker) in (0..).zip(&workers) {
        assert_eq!(worker.numbers("jobs"), [n, n + 3, n + 6]);
    }
    assert_eq!(auditor.numbers("jobs"), every(9), "each group gets everything");
    assert_eq!(watcher.numbers("jobs"), every(9));
    assert_eq!(world.shared.topics.subscribers("jobs"), 5);
}

#[test]
fn a_member_whose_socket_refuses_is_skipped_until_it_takes_more() {
    let mut world = World::new(settings());
    let (slow, quick) = (member(&mut world, "workers"), member(&mut world, "workers"));
    slow.stop_reading(1);
    publish(&mut world, 0..20);
    assert_eq!(
        quick.numbers("jobs"),
        (1..20).collect::<Vec<_>>(),
        "only what its socket has begun with waits for it"
    );
    slow.resume();
    world.settle();
    publish(&mut world, 20..24);
    assert_eq!(slow.numbers("jobs").len(), 3);
    assert_eq!(all(&[&slow, &quick]), every(24));
    assert!(slow.told("gap").is_empty(), "it has missed nothing");
}

#[test]
fn what_was_chosen_for_a_member_that_has_gone_goes_to_the_next_one() {
    for way in 0..4 {
        let mut world = World::new(settings());
        let (leaver, other) = (member(&mut world, "workers"), member(&mut world, "workers"));
        // Both are chosen before the shard takes a turn.
        for n in 0..10 {
            world.publish_number("jobs", n, 0);
        }
        match way {
            0 => leaver.kernel().reset(),
            1 => leaver.write(&close(1000)),
            2 => world.disconnect(leaver.key(), 4403),
            _ => world.unsubscribe(leaver.key(), None),
        }
        world.settle();
        assert_eq!(all(&[&leaver, &other]), every(10), "way {way}");
        publish(&mut world, 10..12);
        assert_eq!(all(&[&leaver, &other]), every(12), "way {way}");
        assert_eq!(dropped(&world), 0);
    }
}

#[test]
fn what_a_socket_has_taken_only_a_part_of_goes_to_another_member_when_it_ends() {
    let mut world = World::new(settings());
    let (first, second) = (member(&mut world, "workers"), member(&mut world, "workers"));
    first.kernel().drain(usize::MAX);
    first.stop_reading(10);
    publish(&mut world, 0..2);
    assert_eq!(second.numbers("jobs"), [1]);
    first.kernel().reset();
    world.settle();
    assert_eq!(second.numbers("jobs"), [1, 0]);

    let third = member(&mut world, "workers");
    third.stop_reading(10);
    publish(&mut world, 2..4);
    third.resume();
    world.settle();
    third.kernel().reset();
    world.settle();
    assert_eq!(third.numbers("jobs").len(), 1, "it has left as a whole");
    assert_eq!(all(&[&second, &third]), every(4));
}

/// A member whose bytes pass something on their way to the kernel: records, permessage-deflate, or both.
fn member_behind(world: &mut World, has_records: bool, has_deflate: bool) -> Client {
    let client = if has_deflate { deflate::connect(world, deflate::OFFER) } else { world.connect() };
    client.kernel().has_records = has_records;
    world.join_group(client.key(), "jobs", "workers");
    world.settle();
    client
}

#[test]
fn what_waits_between_a_connection_and_its_kernel_goes_to_another_member_when_it_ends() {
    for (has_records, has_deflate) in [(true, false), (false, true), (true, true)] {
        for ends in [true, false] {
            let mut world = World::new(deflate::deflating(true));
            let first = member_behind(&mut world, has_records, has_deflate);
            first.stop_reading(10);
            if has_records {
                first.ping(b"fills the send buffer");
                world.settle();
            }
            for n in 0..4 {
                assert!(world.publish_number("jobs", n, 5_000));
            }
            world.settle();
            let second = member(&mut world, "workers");
            publish(&mut world, 4..6);
            let others = second.numbers("jobs");
            assert!(
                others.ends_with(&[4, 5]) && !others.contains(&0),
                "the first one is skipped: {others:?}"
            );
            first.kernel().drain(usize::MAX);
            if ends {
                first.kernel().reset();
            } else {
                first.resume();
            }
            world.settle();
            publish(&mut world, 6..8);
            first.kernel().reset();
            world.settle();
            assert_eq!(all(&[&first, &second]), every(8), "{has_records} {has_deflate} {ends}");
            assert_eq!((first.numbers("jobs").contains(&0), dropped(&world)), (!ends, 0));
            assert_eq!(world.shared.budget.used(), 0);
        }
    }
}

#[test]
fn while_nobody_is_free_messages_wait_and_the_oldest_give_way() {
    let outbound = OutboundLimits { max_messages: 10, ..OutboundLimits::default() };
    let mut world = World::new(Config { outbound, ..settings() });
    let members = [member(&mut world, "workers"), member(&mut world, "workers")];
    members.iter().for_each(|member| member.stop_reading(1));
    publish(&mut world, 0..32);
    assert_eq!(dropped(&world), 20);
    members[1].resume();
    world.settle();
    let expected = |to| [1].into_iter().chain(22..to).collect::<Vec<_>>();
    assert_eq!(members[1].numbers("jobs"), expected(32));
    publish(&mut world, 32..35);
    assert_eq!(members[1].numbers("jobs"), expected(35));
    assert!(members[0].numbers("jobs").is_empty());
    members[0].kernel().reset();
    world.settle();
    assert_eq!(members[1].numbers("jobs").last(), Some(&0), "what it had begun with");
    assert_eq!(world.shared.budget.used(), 0);
}

#[test]
fn what_waits_leaves_in_slices_and_goes_to_whoever_joins() {
    let outbound = OutboundLimits { max_messages: 0, ..OutboundLimits::default() };
    let mut world = World::new(Config { outbound, ..settings() });
    let stuck = member(&mut world, "workers");
    stuck.stop_reading(1);
    publish(&mut world, 0..1_000);
    let fresh = member(&mut world, "workers");
    assert_eq!(fresh.numbers("jobs"), (1..1_000).collect::<Vec<_>>());
    publish(&mut world, 1_000..1_010);
    assert_eq!(fresh.numbers("jobs"), (1..1_010).collect::<Vec<_>>());
}

#[test]
fn what_has_waited_for_longer_than_it_is_worth_something_is_given_to_nobody() {
    let mut world = World::new(settings());
    let stuck = member(&mut world, "workers");
    stuck.stop_reading(1);
    publish(&mut world, 0..1);
    let topic = world.shared.topics.get("jobs").expect("it has a member");
    for (n, expires) in [(1, NonZeroU64::new(500)), (2, NonZeroU64::new(5_000))] {
        let mut bytes = Payload::room(0);
        bytes.extend_from_slice(numbered("jobs", n, 0).as_bytes());
        let payload = Payload::new(OpCode::Text, bytes, None, None);
        let (frame, _) = payload.standing(Standing { expires, ..Standing::default() }).into_frame(None);
        world.shared.publish_to_groups(&topic, &frame);
    }
    world.pass(1_000);
    let fresh = member(&mut world, "workers");
    assert_eq!((fresh.numbers("jobs"), dropped(&world)), (vec![2], 1));
}

#[test]
fn a_publication_right_behind_the_call_finds_its_member() {
    let mut world = World::new(settings());
    let client = world.connect();
    world.join_group(client.key(), "jobs", "workers");
    world.publish_number("jobs", 0, 0);
    world.publish_number("jobs", 1, 0);
    world.settle();
    assert_eq!(client.numbers("jobs"), [0, 1]);
}

#[test]
fn a_group_ends_with_its_last_member_and_what_waits_with_it() {
    let mut world = World::new(settings());
    let last = member(&mut world, "workers");
    last.stop_reading(1);
    publish(&mut world, 0..3);
    assert!(world.shared.budget.used() > 0);
    last.kernel().reset();
    world.settle();
    assert_eq!(dropped(&world), 3);
    publish(&mut world, 3..4);
    assert_eq!(dropped(&world), 3, "there was no group any more");
    world.assert_nothing_is_left(&[]);
}

#[test]
fn a_topic_is_held_once_by_oneself_or_in_one_of_its_groups() {
    let mut world = World::new(settings());
    let client = world.connect_to("jobs");
    let held = |world: &World| {
        let groups = world
            .shared
            .topics
            .get("jobs")
            .and_then(|topic| topic.groups().map(|groups| groups.list().len()));
        (world.shared.topics.subscribers("jobs"), groups)
    };
    publish(&mut world, 0..1);
    world.join_group(client.key(), "jobs", "a");
    world.settle();
    publish(&mut world, 1..2);
    assert_eq!(held(&world), (1, Some(1)));
    world.join_group(client.key(), "jobs", "b");
    world.join_group(client.key(), "jobs", "b");
    world.settle();
    publish(&mut world, 2..3);
    assert_eq!(held(&world), (1, Some(1)));
    client.subscribe(&["jobs"]);
    world.settle();
    publish(&mut world, 3..4);
    assert_eq!(held(&world), (1, Some(0)));
    assert_eq!(client.numbers("jobs"), every(4));
    world.unsubscribe(client.key(), Some(vec!["jobs".into()]));
    world.settle();
    assert!(!world.has_topic("jobs"));
}

#[test]
fn a_membership_counts_as_a_subscription() {
    let mut world = World::new(settings());
    let client = world.connect();
    for n in 0..1_024 {
        world.join_group(client.key(), &format!("jobs:{n}"), "workers");
    }
    world.settle();
    world.replies();
    let request = world.join_group(client.key(), "jobs", "workers");
    world.settle();
    assert_eq!(
        world.replies(),
        [Reply::Subscribed { request, refused: vec!["jobs".into()], stands: Vec::new() }]
    );
    assert!(!world.has_topic("jobs"));
    client.kernel().reset();
    world.settle();
    world.assert_nothing_is_left(&[]);
}

#[test]
fn a_share_of_a_topic_is_no_word_for_all_of_it() {
    let topics = Rules::default();
    let presence = Some(PresenceLimits::default());
    let mut world = World::new(Config { topics, presence, ..settings() });
    let worker = world.connect_as("ann");
    world.join_group(worker.key(), "jobs", "workers");
    world.subscribe(worker.key(), "news");
    world.settle();
    worker.subscribe(&["jobs"]);
    worker.text(r#"{"t":"presence_request","p":{"topic":"jobs"}}"#);
    world.settle();
    assert_eq!(worker.errors(), ["SUBSCRIPTION_FAILED", "SUBSCRIPTION_FAILED"]);
    world.drain(1, 1_000);
    world.settle();
    let ticket = worker.told("server_draining")[0]["ticket"].as_str().expect("a ticket").to_owned();
    let ticket = world.shared.config.tickets.verify(&ticket, Kind::Resume, Timestamp(world.now().unix_ms));
    assert_eq!(ticket.expect("it is good").topics, ["news"]);
}

#[test]
fn who_waits_for_its_key_gets_nothing_of_a_group_before() {
    let mut world = World::new(settings());
    let waiting = world.knock_with("ann", "", "encryption=true");
    world.settle();
    world.join_group(waiting.key(), "jobs", "workers");
    world.settle();
    publish(&mut world, 0..3);
    let plain = member(&mut world, "workers");
    publish(&mut world, 3..5);
    assert_eq!(plain.numbers("jobs"), every(5));
    assert!(waiting.numbers("jobs").is_empty());
}

/// Members come, stall, go on, leave and break off while messages are published; every message must be received by
/// one of them, or counted.
fn run(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let outbound = OutboundLimits { max_messages: random.usize(0..20), ..OutboundLimits::default() };
    let mut world = World::seeded(Config { outbound, ..deflate::deflating(true) }, seed);
    // One that always reads stays, so that the group never ends.
    let mut clients = vec![member(&mut world, "workers")];
    let mut open = vec![0];
    for n in 0..200 {
        match random.u8(0..10) {
            0 if open.len() < 6 => {
                open.push(clients.len());
                clients.push(member_behind(&mut world, random.bool(), random.bool()));
            }
            1 => clients[*random.choice(&open).expect("one stays")].stop_reading(random.usize(1..400)),
            2 => clients[*random.choice(&open).expect("one stays")].resume(),
            3 if open.len() > 1 => {
                let index = open.swap_remove(random.usize(1..open.len()));
                let client = &clients[index];
                // What the kernel has taken arrives; what it has not taken must not be lost.
                client.kernel().drain(usize::MAX);
                match random.u8(0..3) {
                    0 => client.kernel().reset(),
                    1 => world.unsubscribe(client.key(), None),
                    _ => world.disconnect(client.key(), 4403),
                }
                client.resume();
            }
            4 => clients[*random.choice(&open).expect("one stays")].write(&frame(PING, b"", true)),
            _ => {}
        }
        world.publish_number("jobs", n, random.usize(0..300));
        if random.bool() {
            world.settle();
        }
    }
    clients.iter().for_each(Client::resume);
    world.settle();
    let numbers = all(&clients.iter().collect::<Vec<_>>());
    assert_eq!(numbers.len(), numbers.iter().collect::<BTreeSet<_>>().len(), "nothing comes twice");
    assert_eq!(numbers.len() as u64 + dropped(&world), 200, "nothing is lost");
    clients.iter().for_each(|client| client.kernel().reset());
    world.settle();
    world.assert_nothing_is_left(&[]);
}

#[test]
fn every_message_reaches_one_member_or_is_counted_whatever_becomes_of_them() {
    for_each_seed(300, "groups", run);
}
