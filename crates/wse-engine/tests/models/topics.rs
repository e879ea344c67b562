//! Who announces, who publishes, and who forgets a topic.

use crate::{model, publish, settings, share, start};
use std::sync::Arc;
use wse_engine::command::Command;
use wse_engine::shared::Shared;
use wse_engine::topics::Topic;

/// Publications that wait for the first shard and that holders of `held` get.
fn waiting(shared: &Shared, held: &Arc<Topic>) -> usize {
    let is_theirs = |command: &Command| match command {
        Command::Publish(topic, _, matching, _) => {
            let globs = matching.iter().flat_map(|matching| &matching.globs);
            globs.chain([topic]).any(|topic| Arc::ptr_eq(topic, held))
        }
        _ => false,
    };
    shared.desks[0].mailbox.take(Vec::new()).iter().filter(|command| is_theirs(command)).count()
}

/// A shard announces `held` and publishes to `name`, which matches it, while another thread does `meanwhile`.
fn reaches(held: &'static str, name: &'static str, meanwhile: fn(&Shared)) {
    model(move || {
        let (shared, _) = share(settings());
        let other = Arc::clone(&shared);
        let last = shared.topics.want(held, 1);
        let leaver = Arc::clone(&shared);
        start(move || meanwhile(&other));
        start(move || leaver.topics.release(&last, 1));
        // Who leaves may find out that it is the last one when the name belongs to a newer topic already.
        let early = shared.topics.want(held, 0);
        shared.topics.release(&early, 0);
        let topic = shared.topics.want(held, 0);
        shared.topics.hold(&topic, 0, 7);
        publish(&shared, name);
        assert!(waiting(&shared, &topic) > 0, "who holds it when it is published to gets it");
        shared.topics.leave(&topic, 0, 7);
    });
}

#[test]
fn a_publication_reaches_who_announced_before_while_another_leaves() {
    reaches("news", "news", |_| {});
}

#[test]
fn a_publication_reaches_the_holder_of_a_glob_while_others_leave_and_publish() {
    reaches("n*", "news", |shared| {
        publish(shared, "news");
    });
}

#[test]
fn a_topic_is_forgotten_with_its_last_holder_whoever_that_is() {
    for name in ["news", "n*"] {
        model(move || {
            let (shared, _) = share(settings());
            let shards = [0, 1].map(|shard| {
                let shared = Arc::clone(&shared);
                start(move || {
                    let topic = shared.topics.want(name, shard);
                    shared.topics.hold(&topic, shard, 7);
                    publish(&shared, "news");
                    shared.topics.leave(&topic, shard, 7);
                })
            });
            for shard in shards {
                shard.join().expect("it leaves");
            }
            assert!(shared.topics.is_empty() && shared.topics.matching("news").is_none());
        });
    }
}
