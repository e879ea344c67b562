//! The log of a topic, those who publish to it, those who read it, and those who take it away.

use crate::{model, publish, settings, share, start};
use std::sync::Arc;
use wse_engine::Config;
use wse_engine::command::Command;
use wse_engine::config::Recovery;
use wse_engine::shared::Shared;
use wse_engine::topics::Topic;

/// A holder on a shard: every publication from where it began comes once and in order.
struct Reader {
    topic: Arc<Topic>,
    shard: usize,
    reached: u64,
}

impl Reader {
    /// Holds an announced topic, as `Core::take_up` does.
    fn hold(shared: &Shared, topic: Arc<Topic>, shard: usize) -> Self {
        shared.topics.hold(&topic, shard, 7);
        let reached = topic.seen(shard);
        Self { topic, shard, reached }
    }

    /// Carries out what waits for the shard, as `Shard::execute` does.
    fn carry_out(&mut self, shared: &Shared) {
        for command in shared.desks[self.shard].mailbox.take(Vec::new()) {
            let Command::Publish(topic, frame, ..) = command else { continue };
            if topic.see(self.shard, frame.index()) && Arc::ptr_eq(&topic, &self.topic) {
                assert_eq!(frame.index(), self.reached + 1, "nothing is missing, and nothing comes twice");
                self.reached = frame.index();
            }
        }
    }

    fn leave(self, shared: &Shared) {
        shared.topics.leave(&self.topic, self.shard, 7);
    }

    /// Nobody publishes any more.
    fn has_all(mut self, shared: &Shared) {
        self.carry_out(shared);
        assert_eq!(Some(self.reached), self.topic.log().map(|log| log.lock().head()));
        let known = shared.topics.get("t");
        assert!(known.is_some_and(|known| Arc::ptr_eq(&known, &self.topic)), "what is held is what is known");
    }
}

/// Every topic has a log; they may have so many bytes together.
fn logged(budget_bytes: usize) -> Config {
    Config { recovery: Some(Recovery { budget_bytes, ..Recovery::default() }), ..settings() }
}

#[test]
fn who_holds_a_topic_gets_all_that_is_published_from_there_on_once() {
    model(|| {
        let (shared, _) = share(logged(0));
        let publishers = [(); 2].map(|()| {
            let shared = Arc::clone(&shared);
            start(move || publish(&shared, "t"))
        });
        let announced = shared.topics.want("t", 0);
        let mut reader = Reader::hold(&shared, announced, 0);
        reader.carry_out(&shared);
        reader.leave(&shared);
        let announced = shared.topics.want("t", 0);
        let reader = Reader::hold(&shared, announced, 0);
        for publisher in publishers {
            publisher.join().expect("it publishes");
        }
        reader.has_all(&shared);
    });
}

#[test]
fn what_comes_between_the_announcement_of_a_subscription_and_its_beginning_is_not_sent_to_it() {
    model(|| {
        let (shared, _) = share(logged(0));
        let application = Arc::clone(&shared);
        let application = start(move || {
            publish(&application, "t");
            let announced = application.topics.want("t", 0);
            publish(&application, "t");
            announced
        });
        let other = Arc::clone(&shared);
        let other = start(move || publish(&other, "t"));
        // The shard has a holder of its own, who leaves meanwhile.
        let announced = shared.topics.want("t", 0);
        let mut first = Reader::hold(&shared, announced, 0);
        first.carry_out(&shared);
        first.leave(&shared);
        let announced = application.join().expect("it announces");
        let mut reader = Reader::hold(&shared, announced, 0);
        reader.carry_out(&shared);
        other.join().expect("it publishes");
        reader.has_all(&shared);
    });
}

#[test]
fn nothing_is_appended_to_the_log_of_a_topic_that_was_forgotten() {
    model(|| {
        let (shared, _) = share(logged(0));
        let last = shared.topics.want("t", 1);
        let leaver = Arc::clone(&shared);
        let leaver = start(move || leaver.topics.release(&last, 1));
        let publisher = Arc::clone(&shared);
        let publisher = start(move || publish(&publisher, "t"));
        let announced = shared.topics.want("t", 0);
        let reader = Reader::hold(&shared, announced, 0);
        leaver.join().expect("it leaves");
        let position = publisher.join().expect("it publishes");
        let known = shared.topics.get("t").expect("what is kept is known");
        assert_eq!(known.log().map(|log| log.lock().position(1)), position);
        reader.has_all(&shared);
    });
}

#[test]
fn a_log_that_nobody_holds_survives_the_last_holder_once_it_was_published_to() {
    model(|| {
        let (shared, _) = share(logged(0));
        let last = shared.topics.want("t", 0);
        let leaver = Arc::clone(&shared);
        let leaver = start(move || leaver.topics.release(&last, 0));
        let position = publish(&shared, "t");
        leaver.join().expect("it leaves");
        let known = shared.topics.get("t").expect("what is kept is known");
        assert_eq!(known.log().map(|log| log.lock().position(1)), position);
        assert_eq!(shared.topics.logs().map(|logs| logs.len()), Some(1));
    });
}

#[test]
fn logs_over_their_budget_are_lost_whoever_publishes_and_nothing_of_them_stays() {
    // With room for nothing, and for an empty log.
    for (names, budget_bytes) in [(["a", "b"], 1), (["a", "a"], 1), (["a", "a"], 900)] {
        model(move || {
            let (shared, _) = share(logged(budget_bytes));
            let publishers = names.map(|name| {
                let shared = Arc::clone(&shared);
                start(move || publish(&shared, name))
            });
            for publisher in publishers {
                publisher.join().expect("it publishes");
            }
            let logs = shared.topics.logs().expect("there are some");
            assert!(logs.is_empty() && shared.topics.is_empty());
            assert_eq!(logs.bytes(), 0);
        });
    }
}
