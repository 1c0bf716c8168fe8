//! Asynchronous jobs: submitted, asked after, settled in this run or the next.

use super::*;
use crate::destinations::{Outcome, Receipt};

const MINUTE: Duration = Duration::from_mins(1);

fn job() -> Job {
    Job { handle: serde_json::json!("operations/1"), poll_after: MINUTE }
}

/// A destination whose jobs are done after this many questions.
fn slow(questions: usize) -> Fake {
    let asked = Mutex::new(0);
    Fake {
        settle: Box::new(move |_, rows| {
            let mut asked = asked.lock().unwrap();
            *asked += 1;
            if *asked < questions {
                return Ok(Settlement::Running { poll_after: MINUTE });
            }
            let mut receipt = Receipt::of(rows, &Outcome::Delivered);
            assert!(receipt.set(1, Outcome::Rejected { reason: "unknown person".into() }));
            Ok(Settlement::Done(receipt))
        }),
        ..Fake::new(|_| Ok(Delivery::Submitted(job())))
    }
}

fn batched() -> Common {
    Common { batch_size: Some(10), ..common() }
}

#[tokio::test(start_paused = true)]
async fn a_job_is_asked_after_until_it_is_done() {
    let outboxes = Outboxes::numbered(Call::Track, 5);
    let drained = outboxes.drain(&Arc::new(slow(3)), batched(), vec![]).await;
    assert_eq!(counts(&drained.lanes[0]), [4, 1, 0, 0]);
    assert_eq!(drained.elapsed, 3 * MINUTE);
    assert!(outboxes.replay(0).jobs.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_takes_too_long_is_settled_by_the_next_run() {
    let outboxes = Outboxes::numbered(Call::Track, 5);
    let drained = outboxes.drain(&Arc::new(slow(100)), batched(), vec![]).await;
    assert_eq!(counts(&drained.lanes[0]), [0, 0, 0, 5]);
    let jobs = outboxes.replay(0).jobs;
    assert_eq!((&jobs[0].job, &jobs[0].rows[..]), (&job(), &[0, 1, 2, 3, 4][..]));

    let Terms { spec, common, secrets } = terms(batched());
    let journal = Journal::reopen(&outboxes.journal(0), "model_0.fake", "run", 5).unwrap();
    let destination = Arc::new(slow(2));
    let resumption = Resumption { spec, destination, common, secrets, jobs, journal };
    let (_cancel, control) = control();
    let resumed = resume(resumption, control).await;
    assert_eq!((resumed.acknowledged, resumed.rejected, resumed.unsettled), (4, 1, 0));
    let replay = outboxes.replay(0);
    assert!(replay.jobs.is_empty());
    assert_eq!(replay.rows[1], RowState::Rejected);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_asks_for_longer_pauses_than_a_run_may_take_is_asked_after_by_the_next() {
    let outboxes = Outboxes::numbered(Call::Track, 5);
    let patient = || Job { poll_after: 60 * MINUTE, ..job() };
    let fake =
        Fake { settle: slow(1).settle, ..Fake::new(move |_| Ok(Delivery::Submitted(patient()))) };
    let fake = Arc::new(fake);
    let drained = outboxes.drain(&fake, batched(), vec![]).await;
    assert_eq!(counts(&drained.lanes[0]), [0, 0, 0, 5]);
    let Terms { spec, common, secrets } = terms(batched());
    let journal = Journal::reopen(&outboxes.journal(0), "model_0.fake", "run", 5).unwrap();
    let jobs = outboxes.replay(0).jobs;
    let resumption = Resumption { spec, destination: fake, common, secrets, jobs, journal };
    let (_cancel, control) = control();
    let resumed = resume(resumption, control).await;
    assert_eq!((resumed.acknowledged, resumed.rejected, resumed.unsettled), (4, 1, 0));
}

/// A destination whose jobs are done at once, and know nothing of one message.
fn forgetful() -> Arc<Fake> {
    let settle = |_: &Job, rows| {
        let mut receipt = Receipt::of(rows, &Outcome::Delivered);
        assert!(receipt.set(1, Outcome::Unsettled { reason: "nobody knows".into() }));
        Ok(Settlement::Done(receipt))
    };
    let fake = Fake::new(|_| Ok(Delivery::Submitted(job())));
    Arc::new(Fake { settle: Box::new(settle), ..fake })
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_done_is_not_asked_after_again_whatever_it_knows() {
    let outboxes = Outboxes::numbered(Call::Track, 5);
    let drained = outboxes.drain(&forgetful(), batched(), vec![]).await;
    assert_eq!(counts(&drained.lanes[0]), [4, 0, 0, 1]);
    assert_eq!(drained.lanes[0].fault.as_deref(), Some("nobody knows"));
    let replay = outboxes.replay(0);
    assert_eq!((replay.rows[1], replay.jobs.len()), (RowState::Unsettled, 0));

    let outboxes = Outboxes::numbered(Call::Track, 5);
    outboxes.drain(&Arc::new(slow(100)), batched(), vec![]).await;
    let Terms { spec, common, secrets } = terms(batched());
    let journal = Journal::reopen(&outboxes.journal(0), "model_0.fake", "run", 5).unwrap();
    let jobs = outboxes.replay(0).jobs;
    let destination = forgetful();
    let resumption = Resumption { spec, destination, common, secrets, jobs, journal };
    let (_cancel, control) = control();
    let resumed = resume(resumption, control).await;
    assert_eq!((resumed.acknowledged, resumed.unsettled), (4, 1));
    let replay = outboxes.replay(0);
    assert_eq!((replay.rows[1], replay.jobs.len()), (RowState::Unsettled, 0));
}

/// The first job would say that nobody has what the lost request may have brought.
#[tokio::test(start_paused = true)]
async fn a_job_is_not_asked_about_what_went_again_without_it() {
    let submitted = Mutex::new(0);
    let fake = Fake {
        settle: Box::new(|_, rows| {
            let mut receipt = Receipt::of(rows, &Outcome::Delivered);
            assert!(receipt.set(1, Outcome::Retry { after: None, reason: "busy".into() }));
            Ok(Settlement::Done(receipt))
        }),
        ..Fake::new(move |_| {
            let mut submitted = submitted.lock().unwrap();
            *submitted += 1;
            match *submitted {
                1 => Ok(Delivery::Submitted(job())),
                _ => Err(Fault::Ambiguous { reason: "no reply".into() }),
            }
        })
    };
    let outboxes = Outboxes::numbered(Call::Track, 3);
    let drained = outboxes.drain(&Arc::new(fake), batched(), vec![]).await;
    assert_eq!(counts(&drained.lanes[0]), [2, 0, 0, 1]);
    let replay = outboxes.replay(0);
    assert_eq!((replay.jobs, replay.rows[1]), (vec![], RowState::Unsettled));
}

/// What the job refuses may have come with the request whose reply was lost.
#[tokio::test(start_paused = true)]
async fn a_job_remembers_that_an_earlier_try_had_no_answer() {
    let settled = |patience| {
        let replies = vec![Reply::status(500, ""), Reply::status(202, "")];
        let fake = Arc::new(Fake { requests: 1, ..slow(patience) });
        let outboxes = Outboxes::numbered(Call::Track, 3);
        async move {
            outboxes.drain(&fake, batched(), replies).await;
            outboxes
        }
    };
    let replay = settled(1).await.replay(0);
    assert_eq!((replay.rows[1], replay.unclear), (RowState::Rejected, [1].into()));

    let outboxes = settled(100).await;
    let jobs = outboxes.replay(0).jobs;
    assert!(jobs[0].unclear);
    let Terms { spec, common, secrets } = terms(batched());
    let journal = Journal::reopen(&outboxes.journal(0), "model_0.fake", "run", 3).unwrap();
    let destination = Arc::new(Fake {
        settle: Box::new(|_, rows| {
            let mut receipt =
                Receipt::of(rows, &Outcome::Retry { after: None, reason: "busy".into() });
            assert!(receipt.set(1, Outcome::Rejected { reason: "unknown person".into() }));
            Ok(Settlement::Done(receipt))
        }),
        ..slow(1)
    });
    let resumption = Resumption { spec, destination, common, secrets, jobs, journal };
    let (_cancel, control) = control();
    resume(resumption, control).await;
    let replay = outboxes.replay(0);
    let expected = [RowState::Unsettled, RowState::Rejected, RowState::Unsettled];
    assert_eq!(
        (&replay.rows[..], replay.unclear, replay.jobs),
        (&expected[..], [1].into(), vec![])
    );
}

#[tokio::test(start_paused = true)]
async fn cancelling_leaves_the_job_to_the_next_run() {
    let outboxes = Outboxes::numbered(Call::Track, 5);
    let fake = Arc::new(slow(100));
    let (cancel, control) = control();
    let session = Session::scripted(&terms(batched()), vec![]);
    let work = outboxes.work(&fake, batched());
    let stop = async {
        tokio::time::sleep(MINUTE / 2).await;
        cancel.send_replace(true);
    };
    let (drained, ()) = tokio::join!(drain::drain_through(session, work, control), stop);
    outboxes.prove(&drained);
    assert_eq!(drained.elapsed, MINUTE / 2);
    assert_eq!(outboxes.replay(0).jobs.len(), 1);
}
