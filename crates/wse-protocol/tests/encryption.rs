//! Verifies that an encrypted message opens with the key that it was sealed with and no other, and that
//! whatever a peer sends is refused without harm.

use proptest::prelude::*;
use ring::rand::SystemRandom;
use wse_protocol::crypto::{Key, KeyPair, NONCE_LEN, OVERHEAD, OpenError};

/// The key of a connection, as each of its two sides has it.
fn keys() -> [Key; 2] {
    let [client, server] = [(); 2].map(|()| KeyPair::generate(&SystemRandom::new()).expect("a pair"));
    let [for_server, for_client] = [client.public_key(), server.public_key()];
    [client.agree(&for_client).expect("a key"), server.agree(&for_server).expect("a key")]
}

#[test]
fn both_sides_come_to_one_key_and_each_exchange_to_another() {
    let [client, server] = keys();
    let mut message = Vec::new();
    client.seal(&[7; NONCE_LEN], br#"{"t":"x"}"#, &mut message);
    assert_eq!(server.open(&mut message.clone()), Ok(r#"{"t":"x"}"#));
    assert_eq!(keys()[0].open(&mut message), Err(OpenError::Tag));
}

#[test]
fn a_message_is_appended_behind_what_the_caller_left_room_for() {
    let [client, server] = keys();
    let mut out = b"head".to_vec();
    client.seal(&[0; NONCE_LEN], b"text", &mut out);
    assert_eq!((&out[..4], out.len()), (&b"head"[..], 4 + 4 + OVERHEAD));
    assert_eq!(server.open(&mut out[4..]), Ok("text"));
}

#[test]
fn a_key_keeps_its_bytes_out_of_logs() {
    assert_eq!(format!("{:?}", keys()[0]), "Key { .. }");
}

proptest! {
    #[test]
    fn what_was_sealed_opens_and_with_any_bit_changed_it_does_not(
        text in "\\PC{0,200}",
        nonce: [u8; NONCE_LEN],
        at: prop::sample::Index,
        bit in 0..8_u8,
    ) {
        let [client, server] = keys();
        let mut message = Vec::new();
        client.seal(&nonce, text.as_bytes(), &mut message);
        prop_assert_eq!(message.len(), text.len() + OVERHEAD);
        let mut changed = message.clone();
        changed[at.index(message.len())] ^= 1 << bit;
        prop_assert!(server.open(&mut changed).is_err());
        prop_assert_eq!(server.open(&mut message), Ok(text.as_str()));
    }

    #[test]
    fn bytes_that_nobody_sealed_are_refused(mut bytes: Vec<u8>, has_prefix: bool) {
        if has_prefix {
            bytes.splice(0..0, *b"E:");
        }
        prop_assert!(keys()[0].open(&mut bytes).is_err());
    }

    #[test]
    fn texts_that_are_no_key_are_refused(text in "\\PC{0,100}", bytes: [u8; 32]) {
        use base64::Engine;
        let refused = KeyPair::generate(&SystemRandom::new()).expect("a pair").agree(&text);
        prop_assert!(refused.is_err());
        // Half of all x are on the curve, but hardly ever with this y.
        let point = base64::engine::general_purpose::STANDARD.encode([&[4][..], &bytes, &bytes].concat());
        let refused = KeyPair::generate(&SystemRandom::new()).expect("a pair").agree(&point);
        prop_assert!(refused.is_err());
    }
}
