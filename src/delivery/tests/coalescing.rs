//! Several syncs to one destination: what concerns the same record travels as one message.

use super::*;

fn delivered(batch: &Batch) -> Result<Delivery, Fault> {
    Ok(batch.delivered().into())
}

fn five_traits() -> Outboxes {
    let keys: Vec<String> = (0..40).map(|number| format!("u{number:02}")).collect();
    let every = |step: usize| keys.iter().step_by(step).map(String::as_str).collect::<Vec<_>>();
    (1..=5).fold(Outboxes::new(), |outboxes, step| outboxes.with(Call::Identify, &every(step)))
}

#[tokio::test(start_paused = true)]
async fn traits_of_one_user_are_one_message_that_settles_all_its_rows() {
    let outboxes = five_traits();
    let fake = Arc::new(Fake::new(|batch| {
        for message in batch.messages() {
            let number: usize = message.key()[1..].parse().unwrap();
            let expected: Vec<String> = (0..5)
                .filter(|lane| number.is_multiple_of(lane + 1))
                .map(|lane| format!("trait_{lane}"))
                .collect();
            let names: Vec<_> = message.traits().map(|(name, _)| name.to_owned()).collect();
            assert_eq!(names, expected);
        }
        delivered(batch)
    }));
    let drained = outboxes.drain(&fake, Common { batch_size: Some(7), ..common() }, vec![]).await;
    let all: Vec<_> = drained.lanes.iter().map(counts).collect();
    assert_eq!(all, [40, 20, 14, 10, 8].map(|rows| [rows, 0, 0, 0]));
    assert_eq!(fake.sent().len(), 40);
}

#[tokio::test(start_paused = true)]
async fn switched_off_each_sync_sends_its_own() {
    let outboxes = five_traits();
    let fake = Arc::new(Fake::new(delivered));
    outboxes.drain(&fake, Common { coalesce: false, ..common() }, vec![]).await;
    assert_eq!(fake.sent().len(), 92);
}

#[tokio::test(start_paused = true)]
async fn other_calls_and_other_remotes_stay_apart() {
    let outboxes = Outboxes::new()
        .with(Call::Identify, &["a", "b"])
        .with(Call::Track, &["a", "b"])
        .with(Call::Group, &["a", "b"])
        .with(Call::Identify, &["b", "c"])
        .with(Call::Identify, &["a", "c"]);
    let open =
        Box::new(|target: &Target| Ok(Remote(serde_json::json!(target.sync == "model_4.fake"))));
    let fake = Arc::new(Fake { open, ..Fake::new(delivered) });
    let drained = outboxes.drain(&fake, Common { concurrency: Some(1), ..common() }, vec![]).await;
    assert!(drained.lanes.iter().all(|lane| counts(lane) == [2, 0, 0, 0]));
    assert_eq!(fake.sent(), ["a", "b", "c", "a", "c", "a", "b", "a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_message_is_rejected_for_all_its_rows() {
    let outboxes =
        Outboxes::new().with(Call::Identify, &["a", "b", "c"]).with(Call::Identify, &["b", "d"]);
    let fake = Arc::new(Fake::new(|batch| {
        match batch.messages().iter().any(|message| message.key() == "b") {
            true => Err(Fault::Rejected { reason: "no".into() }),
            false => delivered(batch),
        }
    }));
    let drained = outboxes.drain(&fake, Common { batch_size: Some(4), ..common() }, vec![]).await;
    assert_eq!(counts(&drained.lanes[0]), [2, 1, 0, 0]);
    assert_eq!(counts(&drained.lanes[1]), [1, 1, 0, 0]);
}

#[tokio::test]
async fn rehearsing_shows_requests_and_sends_nothing() {
    let outboxes = five_traits().with(Call::Track, &["x", "y"]);
    let fake = Arc::new(Fake { requests: 1, ..Fake::new(delivered) });
    let Work { spec, destination, common, secrets, lanes, .. } = outboxes.work(&fake, common());
    let lanes = lanes.into_iter().map(|lane| (lane.target, lane.shape, lane.blocks)).collect();
    let rehearsal = Rehearsal { spec, destination, common, secrets, lanes };
    let rehearsed = rehearse(rehearsal, 3).await;
    let shown: Vec<_> = rehearsed.iter().map(|all| (all.syncs.len(), all.requests.len())).collect();
    assert_eq!(shown, [(5, 3), (1, 2)]);
    assert_eq!(rehearsed[0].requests[0].url, "https://example.com/hook?key=[secret]");
}
