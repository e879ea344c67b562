//! A peer that understands what it is told, whatever carries it: it inflates, unpacks and decrypts.
//!
//! Remembers in what each message came. Never sends anything but what opens a connection and exchanges keys.

use crate::client::{Client, HEAD, TEXT};
use crate::world::World;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use serde_json::{Value, json};
use wse_protocol::compress::{Format, InflateLimits, Inflater};
use wse_protocol::crypto::{Key, KeyPair, NONCE_LEN};
use wse_protocol::msgpack;

/// What a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// Text: JSON, or something else.
    Text,
    /// JSON with a compressed payload.
    Payload,
    /// `C:`.
    Zlib,
    /// `M:`.
    Msgpack,
    /// `E:`.
    Sealed,
    /// Bytes that are none of these.
    Bytes,
}

/// A message, opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub carrier: Carrier,
    pub bytes: Vec<u8>,
}

impl Message {
    /// Its JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }
}

/// One peer.
pub struct Listener {
    pub client: Client,
    /// All that it was told, in order.
    pub messages: Vec<Message>,
    /// The nonces of what it decrypted.
    pub nonces: Vec<[u8; NONCE_LEN]>,
    pair: Option<KeyPair>,
    pub key: Option<Key>,
    frames: usize,
}

impl Listener {
    /// An open connection whose request has this query; one that asks for encryption has exchanged keys.
    pub fn connect(world: &mut World, query: &str) -> Self {
        Self::knock(world, query).introduced(world, query)
    }

    /// The same of a connection that is open, and whose request had this query.
    pub fn introduced(mut self, world: &mut World, query: &str) -> Self {
        if query.contains("encryption=true") {
            self.hello();
            world.settle();
            self.listen();
            assert!(self.key.is_some(), "keys are exchanged");
        }
        self
    }

    /// An open connection whose request has this query, and that has said nothing yet.
    pub fn knock(world: &mut World, query: &str) -> Self {
        let client = world.accept();
        client.write(HEAD.replace("/wse", &format!("/wse?{query}")).as_bytes());
        world.settle();
        assert_eq!(client.status(), 101);
        Self::new(client)
    }

    /// What understands what `client` is told from here on.
    pub fn new(client: Client) -> Self {
        Self { client, messages: Vec::new(), nonces: Vec::new(), pair: None, key: None, frames: 0 }
    }

    /// As [`Listener::connect`], and it holds `topic`.
    pub fn connect_to(world: &mut World, query: &str, topic: &str) -> Self {
        let listener = Self::connect(world, query);
        listener.client.subscribe(&[topic]);
        world.settle();
        listener
    }

    /// Our public key for the next exchange.
    pub fn public_key(&mut self) -> String {
        self.pair.insert(KeyPair::generate(&SystemRandom::new()).expect("randomness")).public_key()
    }

    /// Says hello with a fresh key.
    pub fn hello(&mut self) {
        let key = self.public_key();
        self.hello_with(&key);
    }

    /// Says hello with `key`.
    pub fn hello_with(&self, key: &str) {
        let hello = json!({"t": "client_hello", "p": {"features": {"encryption": true}, "encryption_public_key": key}});
        self.client.text(&hello.to_string());
    }

    /// Whether it waits for the server's key.
    pub fn is_exchanging(&self) -> bool {
        self.pair.is_some()
    }

    /// Asks for new keys.
    pub fn rotate(&mut self) {
        let key = self.public_key();
        let request = json!({"t": "key_rotation_request", "p": {"encryption_public_key": key}});
        self.client.text(&request.to_string());
    }

    /// `text` under the key of the connection.
    pub fn seal(&self, text: &str) -> Vec<u8> {
        let mut message = Vec::new();
        let nonce = fastrand::u128(..).to_be_bytes();
        let nonce = nonce.first_chunk().expect("sixteen are more than twelve");
        self.key.as_ref().expect("there is a key").seal(nonce, text.as_bytes(), &mut message);
        message
    }

    /// Understands what has arrived since it last listened.
    pub fn listen(&mut self) {
        for frame in self.client.heard().frames.into_iter().skip(self.frames) {
            self.frames += 1;
            if frame.opcode == TEXT {
                let json = serde_json::from_slice::<Value>(&frame.payload).unwrap_or_default();
                self.take_key(&json);
                let message = match json["cmp"] == json!(true) {
                    true => Message { carrier: Carrier::Payload, bytes: with_payload(json) },
                    false => Message { carrier: Carrier::Text, bytes: frame.payload },
                };
                self.messages.push(message);
            } else if frame.opcode == crate::client::BINARY {
                let message = self.open(&frame.payload);
                self.messages.push(message);
            }
        }
    }

    fn open(&mut self, payload: &[u8]) -> Message {
        let mut bytes = Vec::new();
        let carrier = match payload {
            [b'C', b':', stream @ ..] => {
                bytes = inflate(stream);
                Carrier::Zlib
            }
            [b'M', b':', map @ ..] => {
                msgpack::decode(map, 0, &mut bytes).expect("a map");
                Carrier::Msgpack
            }
            [b'E', b':', sealed @ ..] => {
                self.nonces.push(*sealed.first_chunk().expect("a nonce"));
                let mut sealed = payload.to_vec();
                let text = self.key.as_ref().expect("a key").open(&mut sealed);
                bytes.extend_from_slice(text.expect("it opens").as_bytes());
                Carrier::Sealed
            }
            _ => {
                bytes.extend_from_slice(payload);
                Carrier::Bytes
            }
        };
        Message { carrier, bytes }
    }

    fn take_key(&mut self, json: &Value) {
        let is_answer = matches!(
            json["t"].as_str(),
            Some("server_hello" | "key_rotation_response" | "encryption_response")
        );
        let public = json["p"]["encryption_public_key"].as_str().filter(|_| is_answer);
        if let Some((public, pair)) = public.and_then(|public| Some((public, self.pair.take()?))) {
            self.key = Some(pair.agree(public).expect("a good key"));
        }
    }

    /// What was published or sent to it, in order: all but the server's own messages.
    pub fn told(&mut self) -> Vec<Message> {
        self.listen();
        let is_own = |message: &&Message| {
            let json = message.json();
            json["_msg_cat"] != json!("WSE") && json["c"] != json!("WSE")
        };
        self.messages.iter().filter(is_own).cloned().collect()
    }

    /// What carried those messages.
    pub fn carriers(&mut self) -> Vec<Carrier> {
        self.told().iter().map(|message| message.carrier).collect()
    }

    /// Numbers of the publications of `topic` that arrived (see [`World::publish_number`]).
    pub fn numbers(&mut self, topic: &str) -> Vec<u64> {
        let told = self.told().into_iter().map(|message| message.json());
        told.filter(|json| json["t"] == topic).filter_map(|json| json["p"]["n"].as_u64()).collect()
    }

    /// Messages that it was told to be missing.
    pub fn missed(&self) -> u64 {
        self.client.told("gap").iter().filter_map(|gap| gap["count"].as_u64()).sum()
    }
}

fn inflate(stream: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let limits = InflateLimits { max_bytes: 0, max_ratio: 0 };
    Inflater::new(Format::Zlib).inflate(stream, &limits, &mut out).expect("a zlib stream");
    out
}

/// The envelope as it would be without compression.
fn with_payload(mut json: Value) -> Vec<u8> {
    let stream = STANDARD.decode(json["p"].as_str().expect("base64")).expect("base64");
    json["p"] = serde_json::from_slice(&inflate(&stream)).expect("JSON");
    json.as_object_mut().expect("an envelope").remove("cmp");
    serde_json::to_vec(&json).expect("JSON")
}
