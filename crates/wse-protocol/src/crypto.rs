//! Encryption between a client and the server: the key exchange and the frames (PROTOCOL §11).
//!
//! Owns the keys of one connection. Never decides which message is encrypted, and has no randomness of
//! its own: who calls brings the source of keys, and a nonce for each message.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{self, ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

pub use crate::error::{KeyExchangeError, OpenError};

/// What an encrypted message begins with.
pub const PREFIX: &[u8; 2] = b"E:";
/// The bytes of a nonce.
pub const NONCE_LEN: usize = 12;
/// The bytes of a tag.
pub const TAG_LEN: usize = 16;
/// What encryption adds to a message, in bytes.
pub const OVERHEAD: usize = PREFIX.len() + NONCE_LEN + TAG_LEN;

/// The bytes of a public key: an uncompressed point of P-256.
const PUBLIC_KEY_LEN: usize = 65;
const KEY_LEN: usize = 32;
const INFO: &[u8] = b"wse-encryption/aes-gcm-key";

/// Our half of a key exchange, good for one.
#[derive(Debug)]
pub struct KeyPair {
    private: EphemeralPrivateKey,
    public: agreement::PublicKey,
}

impl KeyPair {
    /// A fresh pair from `random`.
    pub fn generate(random: &dyn SecureRandom) -> Result<Self, KeyExchangeError> {
        let pair = EphemeralPrivateKey::generate(&ECDH_P256, random)
            .and_then(|private| Ok(Self { public: private.compute_public_key()?, private }));
        pair.map_err(|_| KeyExchangeError::Randomness)
    }

    /// The public key as it stands in a hello: padded base64.
    pub fn public_key(&self) -> String {
        STANDARD.encode(&self.public)
    }

    /// The key that we have in common with the owner of `peer`, a public key as it stands in a hello.
    ///
    /// A point that is not on the curve is refused: agreeing with one gives our private key away.
    pub fn agree(self, peer: &str) -> Result<Key, KeyExchangeError> {
        // One character too many decodes to no more than this.
        let mut point = [0; PUBLIC_KEY_LEN + 1];
        match STANDARD.decode_slice(peer, &mut point) {
            Ok(PUBLIC_KEY_LEN) => {}
            _ => return Err(KeyExchangeError::Encoding),
        }
        let peer = UnparsedPublicKey::new(&ECDH_P256, &point[..PUBLIC_KEY_LEN]);
        agreement::agree_ephemeral(self.private, &peer, Key::derive).map_err(|_| KeyExchangeError::Point)
    }
}

/// The key of one connection, for both directions.
///
/// Kept as its 32 bytes, which are wiped when it is dropped; the cipher's tables, many times as large,
/// are made for each message. Good for 2³² messages, as long as nonces are random: then it is time for
/// another.
pub struct Key(Zeroizing<[u8; KEY_LEN]>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bytes stay out of logs.
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

impl Key {
    /// The key for the x coordinate that both sides have.
    fn derive(x: &[u8]) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        Salt::new(HKDF_SHA256, &[])
            .extract(x)
            .expand(&[INFO], &AES_256_GCM)
            .and_then(|key| key.fill(&mut *bytes))
            .expect("a key is shorter than what HKDF can give");
        Self(bytes)
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&AES_256_GCM, &*self.0).expect("the key has the length of the cipher's");
        LessSafeKey::new(key)
    }

    /// Appends `message`, encrypted, to `out`: [`OVERHEAD`] bytes more than it has.
    ///
    /// `nonce` must never have been used with this key; 12 random bytes are. Whatever is at the start of
    /// `out` stays, so that a caller can leave room for a frame header.
    pub fn seal(&self, nonce: &[u8; NONCE_LEN], message: &[u8], out: &mut Vec<u8>) {
        out.reserve(message.len() + OVERHEAD);
        out.extend_from_slice(PREFIX);
        out.extend_from_slice(nonce);
        let start = out.len();
        out.extend_from_slice(message);
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self
            .cipher()
            .seal_in_place_separate_tag(nonce, Aad::empty(), &mut out[start..])
            .expect("a message in memory is shorter than what one nonce can encrypt");
        out.extend_from_slice(tag.as_ref());
    }

    /// The text inside of `message`, decrypted where it stands. After an error `message` is worth nothing.
    pub fn open<'a>(&self, message: &'a mut [u8]) -> Result<&'a str, OpenError> {
        let (prefix, sealed) = message.split_first_chunk_mut().ok_or(OpenError::Form)?;
        let (nonce, sealed) = sealed.split_first_chunk_mut().ok_or(OpenError::Form)?;
        if prefix != PREFIX || sealed.len() < TAG_LEN {
            return Err(OpenError::Form);
        }
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let text = self.cipher().open_in_place(nonce, Aad::empty(), sealed).map_err(|_| OpenError::Tag)?;
        simdutf8::basic::from_utf8(text).map_err(|_| OpenError::NotText)
    }
}
