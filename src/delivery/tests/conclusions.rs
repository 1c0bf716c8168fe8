//! The end of a run is told once per sync, after its last batch, and never stands in the way.

use serde_json::json;
use tokio::time::Instant;

use super::*;

fn taken(batch: &Batch) -> Result<Delivery, Fault> {
    Ok(batch.delivered().into())
}

fn concluding(
    script: impl Fn(&Batch) -> Result<Delivery, Fault> + Send + Sync + 'static,
    conclude: impl Fn(&Remote) -> Result<Option<Remote>, Fault> + Send + Sync + 'static,
) -> Arc<Fake> {
    Arc::new(Fake { conclude: Box::new(conclude), ..Fake::new(script) })
}

#[tokio::test(start_paused = true)]
async fn what_the_end_of_a_run_returns_is_kept() {
    let ended = |_: &Remote| Ok(Some(Remote(json!("ended"))));
    let fake = concluding(taken, ended);
    let outboxes = Outboxes::new().with(Call::Identify, &["u1"]).with(Call::Group, &["a1"]);
    let drained = outboxes.drain(&fake, common(), Vec::new()).await;
    for (index, lane) in drained.lanes.iter().enumerate() {
        assert_eq!((counts(lane), &lane.fault), ([1, 0, 0, 0], &None));
        assert_eq!(std::fs::read_to_string(outboxes.remembered(index)).unwrap(), "\"ended\"");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_left_for_the_next_run_does_not_keep_the_end_from_being_told() {
    let told = Arc::new(Mutex::new(0));
    let telling = Arc::clone(&told);
    let fake = concluding(
        |_| Err(Fault::Transient { reason: "busy".into() }),
        move |_| {
            *telling.lock().unwrap() += 1;
            Ok(None)
        },
    );
    let outboxes = Outboxes::new().with(Call::Identify, &["u1"]);
    let drained = outboxes.drain(&fake, common(), Vec::new()).await;
    assert_eq!(counts(&drained.lanes[0]), [0, 0, 1, 0]);
    assert_eq!(*told.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_halted_sync_is_not_told() {
    let never = |_: &Remote| panic!("nothing more is sent");
    for fault in [
        Fault::Misconfigured { reason: "no such list".into() },
        Fault::Denied { reason: "no".into() },
    ] {
        let fake = concluding(move |_| Err(fault.clone()), never);
        let outboxes = Outboxes::new().with(Call::Identify, &["u1"]);
        let drained = outboxes.drain(&fake, common(), Vec::new()).await;
        assert_eq!(counts(&drained.lanes[0]), [0, 0, 1, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_cannot_be_told_takes_nothing_back() {
    let fake = concluding(taken, |_| Err(Fault::Denied { reason: "no hush".into() }));
    let outboxes = Outboxes::new().with(Call::Identify, &["u1"]);
    let drained = outboxes.drain(&fake, common(), Vec::new()).await;
    assert_eq!(counts(&drained.lanes[0]), [1, 0, 0, 0]);
    let told = drained.lanes[0].fault.as_deref().unwrap();
    assert_eq!(told, "the end of the run could not be told: credentials refused: no [secret]");
}

#[tokio::test(start_paused = true)]
async fn whoever_wants_to_stop_does_not_wait_long_for_the_end() {
    let never = |_: &Remote| panic!("it was stopped");
    let fake = Fake { concluding: Duration::from_secs(3600), ..Fake::new(taken) };
    let fake = Arc::new(Fake { conclude: Box::new(never), ..fake });
    let outboxes = Outboxes::new().with(Call::Identify, &["u1"]);
    let (cancel, control) = control();
    let session = Session::scripted(&terms(common()), Vec::new());
    let started = Instant::now();
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cancel.send(true).unwrap();
    };
    let work = outboxes.work(&fake, common());
    let (drained, ()) = tokio::join!(drain::drain_through(session, work, control), stopping);
    assert!(drained.cancelled && started.elapsed() < Duration::from_secs(10));
    assert_eq!(counts(&drained.lanes[0]), [1, 0, 0, 0]);
    outboxes.prove(&drained);
}
