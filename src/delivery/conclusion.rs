//! The end of a drain: nothing is left to send. Lists that are replaced are finished, and destinations
//! where somebody waits for all of a run are told that nothing more of it comes.

use super::drain::{GRACE, Sender};
use super::intake::kept;
use super::report::{Control, cancelled};

impl Sender {
    /// Whatever there is to say when nothing is left to send. Whoever wants to stop waits for what is
    /// under way, but not for long.
    pub(super) async fn finish(&mut self, control: &mut Control) {
        let session = self.session.clone();
        self.cancelled = {
            let last_words = self.say_last_words();
            tokio::pin!(last_words);
            tokio::select! {
                () = &mut last_words => false,
                () = cancelled(&mut control.cancel) => {
                    session.core.stop();
                    // What is dropped then was not said, and the next run knows that.
                    let _ = tokio::time::timeout(GRACE, last_words).await;
                    true
                }
            }
        };
    }

    async fn say_last_words(&mut self) {
        self.finish_replacing().await;
        self.conclude().await;
    }

    async fn conclude(&mut self) {
        for lane in 0..self.tally.lanes.len() {
            let Some(remote) = self.tally.lanes[lane].remote.clone() else { continue };
            if self.session.core.is_stopped() || self.tally.lanes[lane].halted.is_some() {
                continue;
            }
            let session = self.session.fresh();
            let concluded = match self.destination.conclude(&session, &remote).await {
                Ok(Some(remote)) => kept(&self.remember[lane], &remote),
                Ok(None) => Ok(()),
                Err(fault) => Err(fault),
            };
            if let Err(fault) = concluded {
                let reason = format!("the end of the run could not be told: {fault}");
                let reason = self.session.redact(&reason);
                self.tally.lanes[lane].blame(&reason);
            }
        }
    }
}
