//! Chance without chance: dice whose seed is a topic and a number.

use chrono::TimeDelta;

use crate::words::CATEGORIES;

/// A fixed stream of throws about one subject of one topic (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn about(topic: &str, subject: u32) -> Self {
        let seed = topic
            .bytes()
            .fold(u64::from(subject), |seed, byte| Self(seed ^ (u64::from(byte) << 32)).throw());
        Self(seed)
    }

    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        ((self.throw() >> 32) as u32) % bound.max(1)
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, options: &'a [T]) -> &'a T {
        &options[(self.throw() >> 32) as usize % options.len()]
    }

    /// The category of one CD or one page: the better of two throws, so popular ones come up often.
    pub(crate) fn category(&mut self) -> &'static str {
        let places = CATEGORIES.len();
        let [one, other] =
            [self.throw(), self.throw()].map(|throw| (throw >> 32) as usize % places);
        CATEGORIES[one.min(other)]
    }

    pub(crate) fn seconds(&mut self, from: u32, to: u32) -> TimeDelta {
        TimeDelta::seconds(i64::from(from + self.below(to - from)))
    }
}
