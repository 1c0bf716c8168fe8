//! Jobs of one vendor, worked off in its own time: those that were asked for at the same time in any
//! order, but never before those of an earlier one.

use rand::RngExt;
use rand::seq::IndexedRandom;
use serde_json::Value;

use super::fate::Luck;

#[derive(Debug)]
pub struct Queue<W> {
    jobs: Vec<Job<W>>,
    /// How often some time has passed.
    time: u32,
}

#[derive(Debug)]
struct Job<W> {
    work: W,
    since: u32,
    /// Once it is done.
    result: Option<Value>,
}

impl<W: Clone> Queue<W> {
    pub fn new() -> Self {
        Self { jobs: Vec::new(), time: 0 }
    }

    /// The number of the new job.
    pub fn submit(&mut self, work: W) -> usize {
        self.jobs.push(Job { work, since: self.time, result: None });
        self.jobs.len() - 1
    }

    pub fn later(&mut self) {
        self.time += 1;
    }

    pub fn result(&self, number: usize) -> Option<&Value> {
        self.jobs.get(number)?.result.as_ref()
    }

    pub fn work(&self, number: usize) -> Option<&W> {
        self.jobs.get(number).map(|job| &job.work)
    }

    pub fn done(&mut self, number: usize, result: Value) {
        self.jobs[number].result = Some(result);
    }

    /// One of the oldest jobs that wait.
    pub fn next(&self, luck: &mut Luck<'_>) -> Option<(usize, W)> {
        let oldest = self.waiting().map(|(_, job)| job.since).min()?;
        self.of_time(oldest, luck)
    }

    /// One of an earlier time, which is over.
    pub fn overdue(&self, luck: &mut Luck<'_>) -> Option<(usize, W)> {
        let oldest = self.waiting().map(|(_, job)| job.since).min()?;
        if oldest < self.time { self.of_time(oldest, luck) } else { None }
    }

    /// Who asks after a job may find it waiting, unless all goes well.
    pub fn is_hurried(luck: &mut Luck<'_>) -> bool {
        luck.faults.row == 0.0 || luck.random.random_bool(0.6)
    }

    fn waiting(&self) -> impl Iterator<Item = (usize, &Job<W>)> {
        self.jobs.iter().enumerate().filter(|(_, job)| job.result.is_none())
    }

    fn of_time(&self, time: u32, luck: &mut Luck<'_>) -> Option<(usize, W)> {
        let same: Vec<_> = self.waiting().filter(|(_, job)| job.since == time).collect();
        same.choose(luck.random).map(|(number, job)| (*number, job.work.clone()))
    }
}
