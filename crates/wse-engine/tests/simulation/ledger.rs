//! What each client of a random run is owed, and whether it got that: in order, once, or accounted for.
//!
//! Only writes down and compares; never acts.

use crate::application::Event;
use crate::client::Client;
use crate::listener::Listener;
use std::collections::HashMap;
use wse_engine::ConnectionKey;
use wse_engine::inbound::Kind;

/// A publication: its topic, or the lane of a unicast, and its number.
type Label = (String, u64);

/// One client's account.
pub struct Account {
    pub listener: Listener,
    /// It wants encryption, and has not said with which key.
    pub owes_hello: bool,
    pub key: ConnectionKey,
    /// Topics that it holds from the moment that is being written down.
    pub topics: Vec<String>,
    /// What was published to it, in order.
    owed: Vec<Label>,
    /// Texts that it sent.
    pub sent: u64,
}

impl Account {
    pub fn new(client: Client) -> Self {
        let (key, listener) = (client.key(), Listener::new(client));
        Self { key, listener, owes_hello: false, topics: Vec::new(), owed: Vec::new(), sent: 0 }
    }

    /// Notes a publication.
    pub fn owe(&mut self, topic: &str, n: u64) {
        self.owed.push((topic.into(), n));
    }

    /// Verifies that what arrived is part of what was owed, in the order of each topic and once; returns how much.
    pub fn verify_order(&mut self) -> usize {
        let envelopes = self.listener.told().into_iter().map(|message| message.json()).collect::<Vec<_>>();
        let got = envelopes.iter().filter_map(|envelope| {
            let n = envelope["p"]["n"].as_u64()?;
            Some((envelope["t"].as_str()?.to_owned(), n))
        });
        // Topics may overtake each other; none itself.
        let mut behind = HashMap::<String, usize>::new();
        let mut count = 0;
        for label in got {
            let from = behind.entry(label.0.clone()).or_default();
            let place = self.owed[*from..].iter().position(|next| *next == label);
            *from +=
                place.unwrap_or_else(|| panic!("{label:?} came twice, out of order, or uncalled for")) + 1;
            count += 1;
        }
        count
    }

    /// Verifies that nothing is missing but what the client was told to be missing.
    pub fn verify_complete(&mut self) {
        let (got, told) = (self.verify_order(), self.listener.missed());
        assert_eq!(got as u64 + told, self.owed.len() as u64, "{got} arrived, {told} were told as missing");
        assert!(self.listener.client.heard().rest.is_empty(), "whole frames only");
    }

    /// Verifies the application's view: one beginning, messages without a hole, one end; returns how many.
    pub fn verify_events(&self, events: &[Event], is_over: bool) -> u64 {
        let own = events.iter().filter(|event| event.key == self.key).collect::<Vec<_>>();
        let Some((first, rest)) = own.split_first() else {
            assert!(
                self.listener.client.told("server_ready").is_empty(),
                "nobody who was greeted stays unknown"
            );
            return 0;
        };
        assert!(matches!(first.kind, Kind::Connect | Kind::AuthConnect), "it begins with a beginning");
        let ends = rest.iter().filter(|event| event.kind == Kind::Disconnect).count();
        assert_eq!(ends, usize::from(is_over), "its ends");
        let messages = &rest[..rest.len() - ends];
        for (n, event) in messages.iter().enumerate() {
            assert_eq!(event.payload, n.to_string().as_bytes(), "messages in order, without a hole");
        }
        messages.len() as u64
    }
}
