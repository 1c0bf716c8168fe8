//! How a destination answers, and how it misbehaves.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// How one request is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Applied; 200.
    Accept,
    /// The connection closes before the body is read; nothing is applied.
    Refuse,
    /// Applied; the connection closes without a reply.
    LostReply,
    /// Nothing happens until the sink is released; then accepted, if the client is
    /// still there.
    Hold,
    /// 429 with this `Retry-After`; nothing is applied.
    Throttle(RetryAfter),
    /// 200 that names failed messages, by index; the others are applied. Without a list, each message
    /// fails with probability one half.
    Partial { failed: Option<Vec<usize>>, retryable: bool },
    /// 502 with a body that is not JSON; nothing is applied.
    Garbage,
    /// Applied; half of a 200 reply, then the connection closes.
    Cut,
    /// This status and an empty object; nothing is applied.
    Status(u16),
}

/// The two forms of the header.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RetryAfter {
    Seconds(u64),
    /// A date this long from now; the header has no fractions of seconds.
    Date(Duration),
}

/// Probability of each fault, per request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub refuse: f64,
    pub lost_reply: f64,
    pub hold: f64,
    pub throttle: f64,
    pub partial: f64,
    pub garbage: f64,
    pub cut: f64,
    pub server_error: f64,
}

impl Faults {
    /// One request's fate.
    pub fn draw(&self, random: &mut StdRng) -> Answer {
        let pause = match random.random_range(0..10) {
            0 => RetryAfter::Seconds(1),
            1 => RetryAfter::Date(Duration::from_secs(1)),
            _ => RetryAfter::Seconds(0),
        };
        let choices = [
            (self.refuse, Answer::Refuse),
            (self.lost_reply, Answer::LostReply),
            (self.hold, Answer::Hold),
            (self.throttle, Answer::Throttle(pause)),
            (self.partial, Answer::Partial { failed: None, retryable: true }),
            (self.garbage, Answer::Garbage),
            (self.cut, Answer::Cut),
            (self.server_error, Answer::Status(503)),
        ];
        let mut dice: f64 = random.random();
        let drawn = choices.into_iter().find(|(probability, _)| {
            dice -= probability;
            dice < 0.0
        });
        drawn.map_or(Answer::Accept, |(_, answer)| answer)
    }
}
