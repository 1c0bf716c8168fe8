//! The end of a replacement: once everybody who is wanted has arrived, whoever else is on the list is
//! taken off. What is not certain is not done: a row that is pending or unsettled, or a job that still
//! runs, leaves the others to the next run, which removes them one by one.

use super::drain::Sender;
use super::intake::broken;

impl Sender {
    pub(super) async fn finish_replacing(&mut self) {
        self.settle_accounts();
        for lane in 0..self.tally.lanes.len() {
            let Some(remote) = self.tally.lanes[lane].remote.clone() else { continue };
            if !self.tally.lanes[lane].awaits_displacing() {
                continue;
            }
            let session = self.session.fresh();
            match self.destination.finish_replacing(&session, &remote).await {
                Ok(()) => {
                    if let Err(error) = self.tally.lanes[lane].displace() {
                        self.halt(&broken(&error));
                    }
                }
                Err(fault) => {
                    let reason = self.session.redact(&fault.to_string());
                    self.tally.lanes[lane].blame(&reason);
                }
            }
        }
    }
}
