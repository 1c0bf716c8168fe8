//! What becomes of one request at a twin, whoever the vendor is.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Probability of each fate, per request; `row` per row of what is served.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub dropped: f64,
    pub lost_reply: f64,
    pub cut: f64,
    pub error_before: f64,
    pub error_after: f64,
    pub throttled: f64,
    pub expired: f64,
    pub refused: f64,
    pub row: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fate {
    Served,
    /// Nothing is done; the connection closes without a reply.
    Dropped,
    /// Done; the connection closes without a reply.
    LostReply,
    /// Done; half of the reply, then the connection closes.
    Cut,
    /// Nothing is done, and a status of 5xx says nothing about it.
    ErrorBefore(u16),
    /// Done, and a status of 5xx.
    ErrorAfter(u16),
    /// Nothing is done: somebody else used up the vendor's limit.
    Throttled,
    /// Served after every token that was given out is over.
    Expired,
    /// Nothing is done: the vendor refuses the request as a whole.
    Refused,
}

/// Decides about rows while a request is served.
#[derive(Debug)]
pub struct Luck<'a> {
    pub random: &'a mut StdRng,
    pub faults: Faults,
    /// Whether a row was refused.
    pub refused: bool,
}

impl Faults {
    /// Some run has none of a kind, another has many.
    pub fn some(random: &mut StdRng) -> Self {
        let mut often = |most: f64| match random.random_range(0..5) {
            0..3 => 0.0,
            _ => random.random_range(0.0..most),
        };
        Self {
            dropped: often(0.15),
            lost_reply: often(0.2),
            cut: often(0.15),
            error_before: often(0.15),
            error_after: often(0.15),
            throttled: often(0.08),
            expired: often(0.15),
            refused: often(0.15),
            row: often(0.25),
        }
    }

    pub fn draw(&self, random: &mut StdRng) -> Fate {
        let status = *[500, 502, 503, 504].choose(random).unwrap();
        let choices = [
            (self.dropped, Fate::Dropped),
            (self.lost_reply, Fate::LostReply),
            (self.cut, Fate::Cut),
            (self.error_before, Fate::ErrorBefore(status)),
            (self.error_after, Fate::ErrorAfter(status)),
            (self.throttled, Fate::Throttled),
            (self.expired, Fate::Expired),
            (self.refused, Fate::Refused),
        ];
        let mut dice: f64 = random.random();
        let drawn = choices.into_iter().find(|(probability, _)| {
            dice -= probability;
            dice < 0.0
        });
        drawn.map_or(Fate::Served, |(_, fate)| fate)
    }
}

impl Luck<'_> {
    /// Whether the vendor refuses this row.
    pub fn fails(&mut self) -> bool {
        let fails = self.random.random_bool(self.faults.row);
        self.refused |= fails;
        fails
    }
}
