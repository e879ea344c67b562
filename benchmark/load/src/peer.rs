//! The server that Rust programs usually write: tokio-tungstenite, a task and a channel per connection.
//!
//! Written to be as good as that shape allows: small buffers, one flush for all that waits in the channel.

use futures_util::{SinkExt, StreamExt};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

/// Buffers of a connection, in bytes. The library's own default for reading is 128 KiB.
const BUFFER_BYTES: usize = 4096;
/// Messages that may wait for one connection.
const CHANNEL: usize = 64;

/// What the application does with a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// Looks at its characters.
    #[default]
    Touch,
    /// Sends it back.
    Echo,
}

struct Subscriber {
    /// Kept as an application would keep it: the idle benchmark counts it.
    _user: String,
    messages: Sender<Utf8Bytes>,
}

/// The server's state, shared by its tasks.
#[derive(Default)]
pub struct Peer {
    answer: Answer,
    topics: Mutex<HashMap<String, HashMap<u64, Subscriber>>>,
    next: AtomicU64,
    received: AtomicU64,
    touched: AtomicU64,
}

impl Peer {
    /// A server that treats messages as `answer` says.
    pub fn new(answer: Answer) -> Arc<Self> {
        Arc::new(Self { answer, ..Self::default() })
    }

    /// Messages received, and the sum of the characters looked at.
    pub fn received(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.touched.load(Ordering::Relaxed))
    }

    /// Subscribers of all topics.
    pub fn subscribers(&self) -> usize {
        self.topics().values().map(HashMap::len).sum()
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<String, HashMap<u64, Subscriber>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts connections until the listener fails.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> io::Result<()> {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let peer = Arc::clone(&self);
            tokio::spawn(async move {
                if let Err(error) = peer.connection(stream).await {
                    eprintln!("a connection failed: {error}");
                }
            });
        }
    }

    async fn connection(&self, stream: TcpStream) -> Result<(), Error> {
        let config =
            WebSocketConfig::default().read_buffer_size(BUFFER_BYTES).write_buffer_size(BUFFER_BYTES);
        let mut query = String::new();
        // The error type is the library's, as large as an HTTP response.
        #[allow(clippy::result_large_err)]
        let note = |request: &Request, response: Response| {
            query = request.uri().query().unwrap_or_default().to_owned();
            Ok(response)
        };
        let mut socket = accept_hdr_async_with_config(stream, note, Some(config)).await?;
        let user = query.strip_prefix("user=").unwrap_or_default().to_owned();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (messages, waiting) = mpsc::channel(CHANNEL);
        let topic = String::from("bench");
        self.topics().entry(topic.clone()).or_default().insert(id, Subscriber { _user: user, messages });
        let outcome = self.exchange(&mut socket, waiting).await;
        if let Some(subscribers) = self.topics().get_mut(&topic) {
            subscribers.remove(&id);
        }
        match outcome {
            // A load that has seen enough leaves without a goodbye.
            Err(Error::ConnectionClosed | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                Ok(())
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            other => other,
        }
    }

    async fn exchange(
        &self,
        socket: &mut WebSocketStream<TcpStream>,
        mut waiting: Receiver<Utf8Bytes>,
    ) -> Result<(), Error> {
        loop {
            tokio::select! {
                message = socket.next() => match message {
                    Some(message) => self.inbound(socket, message?).await?,
                    None => return Ok(()),
                },
                Some(text) = waiting.recv() => {
                    socket.feed(Message::Text(text)).await?;
                    while let Ok(text) = waiting.try_recv() {
                        socket.feed(Message::Text(text)).await?;
                    }
                    socket.flush().await?;
                }
            }
        }
    }

    async fn inbound(&self, socket: &mut WebSocketStream<TcpStream>, message: Message) -> Result<(), Error> {
        let Message::Text(text) = message else { return Ok(()) };
        self.received.fetch_add(1, Ordering::Relaxed);
        match self.answer {
            Answer::Echo => socket.send(Message::Text(text)).await,
            Answer::Touch => {
                let sum: u64 = text.bytes().step_by(16).map(u64::from).sum();
                self.touched.fetch_add(sum, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn senders(&self) -> Vec<Sender<Utf8Bytes>> {
        self.topics()
            .values()
            .flat_map(HashMap::values)
            .map(|subscriber| subscriber.messages.clone())
            .collect()
    }

    /// Publishes `per_turn` messages a turn of the runtime for as long as told, or until `most` are out.
    ///
    /// Yielding lets every task that was woken write before the next turn; a full channel holds the turn.
    pub async fn publish(
        &self,
        per_turn: u64,
        time: Duration,
        most: u64,
        text: impl Fn(u64) -> String,
    ) -> u64 {
        let senders = self.senders();
        let end = Instant::now() + time;
        let mut published = 0;
        while published < most && Instant::now() < end {
            for _ in 0..per_turn {
                send(&senders, text(published).into()).await;
                published += 1;
            }
            tokio::task::yield_now().await;
        }
        published
    }

    /// Publishes `count` messages at even distances.
    pub async fn tick(&self, per_second: u64, count: u64, text: impl Fn(u64) -> String) {
        let senders = self.senders();
        let period = Duration::from_secs(1) / per_second.max(1) as u32;
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for number in 0..count {
            ticks.tick().await;
            send(&senders, text(number).into()).await;
        }
    }
}

async fn send(senders: &[Sender<Utf8Bytes>], text: Utf8Bytes) {
    for sender in senders {
        // A receiver that is gone belongs to a connection that has just closed.
        let _ = sender.send(text.clone()).await;
    }
}
