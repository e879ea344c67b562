//! The load generator: takes commands on standard input, answers on standard output.
//!
//! `wse-load [seconds]`: it ends by itself after so long, whatever it was told. Default: 300.

use std::sync::{Arc, mpsc};
use std::time::Duration;
use wse_load::control;
use wse_load::generator::Generator;

fn main() -> std::io::Result<()> {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(300);
    let (sender, commands) = mpsc::channel();
    let (mut generator, waker) = Generator::new(commands, Duration::from_secs(seconds))?;
    let listener = Arc::clone(&waker);
    std::thread::spawn(move || {
        control::listen(|command| {
            // Neither fails while the generator lives, and without it this thread ends with the process.
            let _ = sender.send(command);
            let _ = listener.wake();
        });
        drop(sender);
        let _ = listener.wake();
    });
    let outcome = generator.run();
    // Not before: a waker that the ending thread closes takes its last event with it.
    drop(waker);
    outcome
}
