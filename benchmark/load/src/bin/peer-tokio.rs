//! The tokio-tungstenite server of the benchmarks: the commands of the other servers, one thread.

use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use wse_load::clock;
use wse_load::control::{self, Command};
use wse_load::peer::{Answer, Peer};

const BACKLOG: u32 = 4096;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let (sender, mut commands) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        // Fails only when the runtime has ended, and then the process ends too.
        control::listen(|command| drop(sender.send(command)));
    });
    let mut peer = Peer::new(Answer::Touch);
    while let Some(command) = commands.recv().await {
        if command.verb == "open" {
            let answer = if command.text("mode") == "echo" { Answer::Echo } else { Answer::Touch };
            peer = Peer::new(answer);
            let port = open(&peer)?;
            control::answer(
                command.id,
                json!({ "port": port, "path": "/?user={i}", "versions": { "tokio-tungstenite": "0.30" } }),
            );
        } else {
            tokio::spawn(execute(Arc::clone(&peer), command));
        }
    }
    Ok(())
}

/// Listens on a free port of the loopback address.
fn open(peer: &Arc<Peer>) -> std::io::Result<u16> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener = socket.listen(BACKLOG)?;
    let port = listener.local_addr()?.port();
    tokio::spawn(Arc::clone(peer).serve(listener));
    Ok(port)
}

async fn execute(peer: Arc<Peer>, command: Command) {
    let result = match command.verb.as_str() {
        "count" => json!({ "subscribers": peer.subscribers() }),
        "collect" => json!({}),
        "inbound" => {
            let (messages, touched) = peer.received();
            json!({ "now": clock::now(), "messages": messages, "touched": touched })
        }
        "publish" => {
            let time = Duration::from_millis(command.number("ms", 1000));
            let most = command.number("messages", u64::MAX);
            let size = command.number("bytes", 128) as usize;
            let published =
                peer.publish(command.number("perTurn", 1), time, most, |n| numbered(n, size)).await;
            json!({ "messages": published })
        }
        "tick" => {
            let size = command.number("bytes", 128) as usize;
            let count = command.number("messages", 1);
            peer.tick(command.number("perSecond", 20), count, |_| timed(size)).await;
            json!({ "messages": count })
        }
        other => return control::refuse(command.id, format!("unknown command {other:?}")),
    };
    control::answer(command.id, result);
}

/// The message that all servers publish: a JSON object of `size` bytes with a number in it.
fn numbered(number: u64, size: usize) -> String {
    padded(format!(r#"{{"t":"tick","p":{{"n":{number},"x":""#), size)
}

/// The same with the time of publication in it.
fn timed(size: usize) -> String {
    padded(format!(r#"{{"t":"tick","p":{{"at":"@{:019}","x":""#, clock::now()), size)
}

fn padded(mut text: String, size: usize) -> String {
    while text.len() + 3 < size {
        text.push('x');
    }
    text.push_str("\"}}");
    text
}
