//! A shard that sleeps, and those who leave something for it.

use crate::{model, settings, share, start};
use loom::sync::Notify;
use std::sync::Arc;
use wse_engine::ConnectionKey;
use wse_engine::command::Command;
use wse_engine::inbound::{Arrivals, Inbound, Kind};
use wse_engine::shared::Mailbox;

const KEY: ConnectionKey = ConnectionKey { place: 1, generation: 1 };

/// A mailbox whose shard sleeps on what it is beside.
fn mailbox() -> (Arc<Mailbox>, Arc<Notify>) {
    let (mailbox, poll) = (Arc::<Mailbox>::default(), Arc::<Notify>::default());
    wake_by(&mailbox, &poll);
    (mailbox, poll)
}

fn wake_by(mailbox: &Mailbox, poll: &Arc<Notify>) {
    let poll = Arc::clone(poll);
    mailbox.set_waker(Box::new(move || poll.notify()));
}

/// Takes turns, as `driver.rs` does, until there is nothing to wait for. Before the first sleep there is one turn more,
/// as when a socket is ready.
fn take_turns(mailbox: &Mailbox, poll: &Notify, mut is_done: impl FnMut() -> bool) {
    let mut is_busy = true;
    while !is_done() {
        if !mailbox.fall_asleep() && !is_busy {
            poll.wait();
        }
        mailbox.stay_awake();
        is_busy = false;
    }
}

/// Takes turns until two commands have been found.
fn take_both(mailbox: &Mailbox, poll: &Notify) {
    let mut found = 0;
    take_turns(mailbox, poll, || {
        found += mailbox.take(Vec::new()).len();
        found == 2
    });
}

#[test]
fn a_shard_finds_what_was_left_before_it_was_woken() {
    model(|| {
        let (mailbox, poll) = mailbox();
        for _ in 0..2 {
            let mailbox = Arc::clone(&mailbox);
            start(move || {
                mailbox.push(Command::Feed(KEY));
                mailbox.wake();
            });
        }
        take_both(&mailbox, &poll);
    });
}

#[test]
fn who_wakes_all_that_have_mail_wakes_a_shard_that_goes_to_sleep() {
    model(|| {
        let (mailbox, poll) = mailbox();
        for _ in 0..2 {
            let mailbox = Arc::clone(&mailbox);
            start(move || {
                mailbox.push(Command::Feed(KEY));
                // As `Engine::flush` does.
                if mailbox.has_mail() {
                    mailbox.wake();
                }
            });
        }
        take_both(&mailbox, &poll);
    });
}

#[test]
fn a_shard_sees_what_happened_before_it_was_called_although_there_is_no_mail() {
    model(|| {
        let ((shared, _), poll) = (share(settings()), Arc::<Notify>::default());
        shared.set_consumer(true);
        wake_by(&shared.desks[0].mailbox, &poll);
        let caller = Arc::clone(&shared);
        start(move || caller.set_consumer(false));
        // It waits for the application to catch up until there is none.
        take_turns(&shared.desks[0].mailbox, &poll, || !shared.has_consumer());
    });
}

#[test]
fn a_shard_that_waits_for_the_application_is_told_when_it_has_caught_up() {
    model(|| {
        let ((mailbox, poll), inbound) = (mailbox(), Arc::<Inbound>::default());
        let mut arrivals = Arrivals::default();
        let last = arrivals.push(&inbound, Kind::Raw, (KEY, 0), b"x");
        arrivals.deliver(&inbound);
        let (host, woken) = (Arc::clone(&inbound), Arc::clone(&mailbox));
        start(move || {
            // As `Engine::take_batch` does.
            if let Some((_, true)) = host.take() {
                woken.wake();
            }
        });
        take_turns(&mailbox, &poll, || {
            // As `Shard::read_again` does.
            inbound.stall();
            inbound.consumed() >= last
        });
    });
}
