//! What holds for any bytes that a client may send as an encrypted message, or as its public key.

use ring::rand::SystemRandom;
use std::sync::LazyLock;
use wse_protocol::crypto::{Key, KeyPair};

/// Both sides of one connection.
static KEYS: LazyLock<[Key; 2]> = LazyLock::new(|| {
    let [one, other] = [pair(), pair()];
    let [of_one, of_other] = [one.public_key(), other.public_key()];
    [one.agree(&of_other).expect("a point"), other.agree(&of_one).expect("a point")]
});

fn pair() -> KeyPair {
    KeyPair::generate(&SystemRandom::new()).expect("the system has random bytes")
}

/// Verifies that bytes which nobody sealed do not open, that a text which was sealed opens only unchanged, and that
/// a public key is a point or refused.
pub fn check(input: &[u8]) {
    let [ours, theirs] = &*KEYS;
    assert!(ours.open(&mut input.to_vec()).is_err());
    let Ok(text) = std::str::from_utf8(input) else { return };
    let agreed = pair().agree(text).is_ok();
    assert!(!agreed || text.len() == 88, "65 bytes in base64");

    let mut message = Vec::new();
    theirs.seal(&[7; 12], text.as_bytes(), &mut message);
    assert_eq!(ours.open(&mut message.clone()), Ok(text));
    let at = input.iter().map(|&byte| usize::from(byte)).sum::<usize>() % message.len();
    message[at] ^= 1;
    assert!(ours.open(&mut message).is_err(), "byte {at} was changed");
}
