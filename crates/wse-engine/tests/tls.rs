//! Verifies that a socket inside TLS behaves like the socket below it, whatever the kernel takes and gives at once.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use wse_engine::connection::Socket;
use wse_engine::tls::{Certificate, TlsSocket};

/// A kernel's socket: what arrived, what was sent, and how much of either it moves at once.
#[derive(Debug, Default)]
struct Kernel {
    arrived: VecDeque<u8>,
    sent: VecDeque<u8>,
    /// Bytes that it still takes before it would block.
    room: usize,
    is_ended: bool,
    is_shut: bool,
}

#[derive(Debug, Clone, Default)]
struct Wire(Rc<RefCell<Kernel>>);

impl Socket for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut kernel = self.0.borrow_mut();
        if kernel.arrived.is_empty() {
            return if kernel.is_ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        kernel.arrived.read(buffer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kernel = self.0.borrow_mut();
        assert!(!kernel.is_shut, "nothing is written behind the end");
        let length = bytes.len().min(kernel.room);
        if length == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        kernel.room -= length;
        kernel.sent.extend(&bytes[..length]);
        Ok(length)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        self.0.borrow_mut().is_shut = true;
        Ok(())
    }
}

struct Pair {
    server: Option<TlsSocket<Wire>>,
    wire: Wire,
    client: ClientConnection,
}

fn issued() -> (String, String) {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("it is generated");
    (issued.cert.pem(), issued.signing_key.serialize_pem())
}

fn certificate(pem: &(String, String)) -> Certificate {
    let certificate = Certificate::default();
    certificate.set(Some((&pem.0, &pem.1))).expect("it is good");
    certificate
}

fn client(pem: &str) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("it is PEM")).expect("it is a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("there are versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("it is a name");
    ClientConnection::new(Arc::new(config), name).expect("it begins")
}

impl Pair {
    fn new() -> Self {
        let pem = issued();
        let wire = Wire::default();
        let session = certificate(&pem).session().expect("there is a certificate").expect("it is good");
        Self { server: Some(TlsSocket::new(session, wire.clone())), wire, client: client(&pem.0) }
    }

    fn server(&mut self) -> &mut TlsSocket<Wire> {
        self.server.as_mut().expect("it was not dropped")
    }

    /// Moves at most `most` bytes each way; what the client has decrypted comes back.
    fn carry(&mut self, most: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut out).expect("memory takes everything");
        }
        let mut kernel = self.wire.0.borrow_mut();
        kernel.arrived.extend(out);
        kernel.room = most;
        let mut sent = kernel.sent.drain(..).collect::<VecDeque<u8>>();
        drop(kernel);
        let mut received = Vec::new();
        while !sent.is_empty() {
            self.client.read_tls(&mut sent).expect("memory gives everything");
            self.client.process_new_packets().expect("the server speaks TLS");
            match self.client.reader().read_to_end(&mut received) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        received
    }

    fn shake_hands(&mut self) {
        for _ in 0..100 {
            self.carry(usize::MAX);
            let read = self.server().read(&mut [0; 64]);
            assert_eq!(read.expect_err("nothing was sent").kind(), ErrorKind::WouldBlock);
            if !self.client.is_handshaking() && !self.client.wants_write() && !self.server().has_unsent() {
                return;
            }
        }
        panic!("no end of the handshake");
    }
}

fn read_all(socket: &mut TlsSocket<Wire>, buffer: &mut [u8], into: &mut Vec<u8>) {
    loop {
        match socket.read(buffer) {
            Ok(0) => return,
            Ok(length) => {
                into.extend_from_slice(&buffer[..length]);
                if length < buffer.len() && socket.is_drained() {
                    return;
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return;
            }
        }
    }
}

#[test]
fn bytes_arrive_whole_in_both_directions_whatever_the_kernel_takes() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut pair = Pair::new();
        let up = std::iter::repeat_with(|| random.u8(..)).take(300_000).collect::<Vec<_>>();
        let down = std::iter::repeat_with(|| random.u8(..)).take(300_000).collect::<Vec<_>>();
        let (mut read, mut received) = (Vec::new(), Vec::new());
        let (mut written, mut offered) = (0, 0);
        let mut buffer = vec![0; 64 << 10];
        let is_over =
            |read: &Vec<u8>, received: &Vec<u8>| read.len() == up.len() && received.len() == down.len();
        for _ in 0..100_000 {
            if is_over(&read, &received) {
                break;
            }
            if offered < up.len() {
                let end = up.len().min(offered + random.usize(1..40_000));
                offered += pair.client.writer().write(&up[offered..end]).expect("memory takes it");
            }
            received.extend(pair.carry(random.usize(1..30_000)));
            let most = random.usize(1..buffer.len());
            read_all(pair.server(), &mut buffer[..most], &mut read);
            while written < down.len() && !pair.client.is_handshaking() {
                let end = down.len().min(written + random.usize(1..90_000));
                match pair.server().write(&down[written..end]) {
                    Ok(length) => written += length,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        break;
                    }
                }
            }
            pair.server().flush().expect("the wire is whole");
        }
        assert!(is_over(&read, &received), "seed {seed}: {} and {} bytes", read.len(), received.len());
        assert!(read == up && received == down, "seed {seed}: other bytes");
    }
}

#[test]
fn what_the_kernel_refused_is_unsent_until_it_is_flushed() {
    let mut pair = Pair::new();
    pair.shake_hands();
    pair.carry(100);
    let taken = pair.server().write(&[7; 200_000]).expect("the session takes some");
    assert!(taken > 0 && taken < 200_000, "it keeps a bounded part, {taken} bytes");
    assert!(pair.server().has_unsent());
    assert_eq!(pair.server().write(&[7]).expect_err("it is full").kind(), ErrorKind::WouldBlock);
    let mut received = Vec::new();
    while pair.server().has_unsent() {
        received.extend(pair.carry(1_000));
        pair.server().flush().expect("the wire is whole");
    }
    received.extend(pair.carry(0));
    assert_eq!(received, vec![7; taken]);
}

#[test]
fn the_end_comes_behind_everything_that_was_written() {
    let mut pair = Pair::new();
    pair.shake_hands();
    pair.carry(10);
    pair.server().write(b"goodbye").expect("the session takes it");
    pair.server().shutdown().expect("the wire is whole");
    assert!(!pair.wire.0.borrow().is_shut, "something is still to be sent");
    let mut received = Vec::new();
    for _ in 0..100 {
        received.extend(pair.carry(10));
        pair.server().flush().expect("the wire is whole");
    }
    assert_eq!(received, b"goodbye");
    assert!(pair.wire.0.borrow().is_shut);
}

#[test]
fn a_peer_that_ends_is_read_to_its_last_byte_and_then_ends() {
    for says_so in [true, false] {
        let mut pair = Pair::new();
        pair.shake_hands();
        pair.client.writer().write_all(b"last words").expect("memory takes it");
        if says_so {
            pair.client.send_close_notify();
        }
        pair.carry(usize::MAX);
        pair.wire.0.borrow_mut().is_ended = true;
        let mut buffer = [0; 1_000];
        let length = pair.server().read(&mut buffer).expect("it has arrived");
        assert_eq!(&buffer[..length], b"last words");
        assert!(!pair.server().is_drained(), "there is an end to be read");
        assert_eq!(pair.server().read(&mut buffer).expect("the end is no fault"), 0);
    }
}

#[test]
fn a_client_that_speaks_plain_http_is_told_what_this_port_speaks() {
    let mut pair = Pair::new();
    pair.wire.0.borrow_mut().room = 10_000;
    pair.wire.0.borrow_mut().arrived.extend(b"GET /wse HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(pair.server().read(&mut [0; 100]).expect_err("no TLS").kind(), ErrorKind::InvalidData);
    let answer = pair.wire.0.borrow_mut().sent.drain(..).collect::<Vec<_>>();
    let answer = String::from_utf8(answer).expect("it is text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("it has a head");
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    assert!(body.contains("TLS"), "{body}");
}

#[test]
fn garbage_is_a_fault_and_not_a_panic() {
    for seed in 0..2_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut pair = Pair::new();
        let length = random.usize(1..400);
        let mut garbage = std::iter::repeat_with(|| random.u8(..)).take(length).collect::<Vec<_>>();
        if random.bool() {
            garbage.splice(..1, [22, 3, 1]);
        }
        pair.wire.0.borrow_mut().room = 10_000;
        pair.wire.0.borrow_mut().arrived.extend(garbage);
        let error = pair.server().read(&mut [0; 100]).expect_err("nobody sent anything");
        assert!(matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::WouldBlock), "{error}");
    }
}

#[test]
fn what_came_before_a_fault_is_read_and_then_the_fault_is_told() {
    let mut pair = Pair::new();
    pair.shake_hands();
    pair.client.writer().write_all(b"last words").expect("memory takes it");
    pair.carry(usize::MAX);
    pair.wire.0.borrow_mut().arrived.extend(b"\x17\x03\x03\x00\x20 not what the other side encrypted");
    let mut buffer = [0; 1_000];
    let length = pair.server().read(&mut buffer).expect("it came before the fault");
    assert_eq!(&buffer[..length], b"last words");
    assert!(!pair.server().is_drained(), "there is a fault to be read");
    for _ in 0..2 {
        let error = pair.server().read(&mut buffer).expect_err("the fault");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}

#[test]
fn a_certificate_of_no_use_leaves_the_one_before_in_force() {
    let (good, other) = (issued(), issued());
    let certificate = certificate(&good);
    for (chain, key) in [
        ("", good.1.as_str()),
        (good.0.as_str(), ""),
        ("no PEM", "no PEM"),
        (good.0.as_str(), other.1.as_str()),
        (good.1.as_str(), good.0.as_str()),
    ] {
        let error = certificate.set(Some((chain, key))).expect_err("it is of no use");
        assert_eq!(error.code(), "WSE_TLS_INVALID", "{error}");
    }
    let wire = Wire::default();
    let session = certificate.session().expect("the first one is in force").expect("it is good");
    let server = Some(TlsSocket::new(session, wire.clone()));
    Pair { server, wire, client: client(&good.0) }.shake_hands();
    certificate.set(None).expect("that is always possible");
    assert!(certificate.session().is_none());
}

#[test]
fn dropping_the_socket_says_that_this_was_the_end() {
    let mut pair = Pair::new();
    pair.shake_hands();
    pair.carry(1_000);
    pair.server = None;
    pair.carry(0);
    assert_eq!(pair.client.reader().read(&mut [0; 10]).expect("a clean end"), 0);
}
