//! Every outcome and every fault of a batch, through the whole drain.

use super::*;
use crate::destinations::Outcome;

fn delivered(batch: &Batch) -> Result<Delivery, Fault> {
    Ok(batch.delivered().into())
}

fn batched(rows: usize) -> Common {
    Common { batch_size: Some(rows), ..common() }
}

fn one_at_a_time(rows: usize) -> Common {
    Common { concurrency: Some(1), ..batched(rows) }
}

#[tokio::test(start_paused = true)]
async fn everything_is_sent_once_and_acknowledged() {
    let outboxes = Outboxes::numbered(Call::Track, 1000);
    let fake = Arc::new(Fake::new(delivered));
    let drained = outboxes.drain(&fake, batched(30), vec![]).await;
    assert_eq!(counts(&drained.lanes[0]), [1000, 0, 0, 0]);
    assert_eq!(fake.batches().len(), 34);
    let mut sent = fake.sent();
    sent.sort();
    sent.dedup();
    assert_eq!(sent.len(), 1000);
    assert_eq!(drained.lanes[0].remote, Some(Remote::default()));
}

#[tokio::test(start_paused = true)]
async fn rows_that_only_touch_the_state_are_skipped() {
    let rows = vec![
        row("a", Change::Adopted),
        row("b", Change::Entered),
        row("c", Change::Retired),
        row("d", Change::Exited),
    ];
    let outboxes = Outboxes::new().with_rows(Call::Track, rows);
    let fake = Arc::new(Fake::new(delivered));
    let drained = outboxes.drain(&fake, common(), vec![]).await;
    assert_eq!(counts(&drained.lanes[0]), [2, 0, 0, 0]);
    assert_eq!(fake.sent(), ["b", "d"]);
}

/// A reply may say that some were taken, and not who.
#[tokio::test(start_paused = true)]
async fn who_is_refused_alone_may_have_been_taken_with_the_others() {
    for (requests, unclear) in [(0, vec![]), (1, vec![0, 1])] {
        let rejected = |_: &Batch| Err(Fault::Rejected { reason: "some of them".into() });
        let fake = Arc::new(Fake { requests, ..Fake::new(rejected) });
        let outboxes = Outboxes::numbered(Call::Track, 2);
        let replies = (0..3).map(|_| Reply::status(200, "")).collect();
        let common = Common { batch_size: Some(10), ..common() };
        let drained = outboxes.drain(&fake, common, replies).await;
        assert_eq!(counts(&drained.lanes[0]), [0, 2, 0, 0]);
        assert_eq!(outboxes.replay(0).unclear, unclear.into_iter().collect());
    }
}

#[tokio::test(start_paused = true)]
async fn bisecting_finds_exactly_the_bad_rows() {
    let bad = ["u00003", "u00064", "u00065", "u00199"];
    let outboxes = Outboxes::numbered(Call::Track, 200);
    let fake = Arc::new(Fake::new(move |batch| {
        match batch.messages().iter().find(|message| bad.contains(&message.key())) {
            Some(_) => Err(Fault::Rejected { reason: "bad, hush".into() }),
            None => delivered(batch),
        }
    }));
    let drained = outboxes.drain(&fake, batched(64), vec![]).await;
    assert_eq!(counts(&drained.lanes[0]), [196, 4, 0, 0]);
    let replay = outboxes.replay(0);
    let rejected: Vec<u64> = replay.reasons.keys().copied().collect();
    assert_eq!(rejected, [3, 64, 65, 199]);
    assert!(replay.reasons.values().all(|reason| reason == "bad, [secret]"));
}

#[tokio::test(start_paused = true)]
async fn every_outcome_of_a_partial_success_is_kept_apart() {
    let outboxes = Outboxes::numbered(Call::Track, 4);
    let fake = Arc::new(Fake::new(|batch| {
        let mut receipt = batch.delivered();
        for (position, message) in batch.messages().iter().enumerate() {
            let reason = String::from("so it is");
            let outcome = match message.key() {
                "u00001" => Outcome::Rejected { reason },
                "u00002" => Outcome::Retry { after: None, reason },
                "u00003" => Outcome::Unsettled { reason },
                _ => Outcome::Delivered,
            };
            assert!(receipt.set(position, outcome));
        }
        Ok(receipt.into())
    }));
    let drained = outboxes.drain(&fake, batched(10), vec![]).await;
    assert_eq!(counts(&drained.lanes[0]), [1, 1, 1, 1]);
    let again: Vec<_> = fake.batches().into_iter().skip(1).collect();
    assert_eq!(again, [["u00002"], ["u00002"]], "three tries in all");
}

#[tokio::test(start_paused = true)]
async fn rows_that_were_not_taken_travel_together_later() {
    let outboxes = Outboxes::numbered(Call::Track, 100);
    let tries = Mutex::new(BTreeSet::new());
    let fake = Arc::new(Fake::new(move |batch| {
        let mut receipt = batch.delivered();
        for (position, message) in batch.messages().iter().enumerate() {
            let first = tries.lock().unwrap().insert(message.key().to_owned());
            if first && position == 0 {
                let after = Some(Duration::from_secs(5));
                assert!(receipt.set(0, Outcome::Retry { after, reason: "later".into() }));
            }
        }
        Ok(receipt.into())
    }));
    let drained = outboxes.drain(&fake, batched(10), vec![]).await;
    assert_eq!(counts(&drained.lanes[0]), [100, 0, 0, 0]);
    assert_eq!(fake.batches().len(), 11);
    assert!(drained.elapsed >= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn what_was_certainly_not_sent_stays_pending() {
    let outboxes = Outboxes::numbered(Call::Track, 10);
    let fake = Arc::new(Fake { requests: 1, ..Fake::new(delivered) });
    let drained = outboxes.drain(&fake, one_at_a_time(1), vec![Reply::Refused; 100]).await;
    assert_eq!(counts(&drained.lanes[0]), [0, 0, 10, 0]);
    assert_eq!(drained.requests, 9, "three batches of three tries");
    assert!(drained.lanes[0].halted.as_deref().unwrap().contains("3 failures in a row"));
}

#[tokio::test(start_paused = true)]
async fn lost_replies_leave_rows_unsettled() {
    let outboxes = Outboxes::numbered(Call::Track, 10);
    let fake = Arc::new(Fake { requests: 1, ..Fake::new(delivered) });
    let drained = outboxes.drain(&fake, one_at_a_time(1), vec![Reply::Lost; 100]).await;
    assert_eq!(counts(&drained.lanes[0]), [0, 0, 7, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_after_a_lost_reply_does_not_make_it_certain() {
    let outboxes = Outboxes::numbered(Call::Track, 1);
    let fake = Arc::new(Fake { requests: 1, ..Fake::new(delivered) });
    let replies = vec![Reply::Lost, Reply::Refused, Reply::Refused];
    let drained = outboxes.drain(&fake, common(), replies).await;
    assert_eq!(counts(&drained.lanes[0]), [0, 0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_second_request_that_fails_does_not_undo_the_first() {
    let outboxes = Outboxes::numbered(Call::Track, 1);
    let fake = Arc::new(Fake { requests: 2, ..Fake::new(delivered) });
    let mut replies = vec![Reply::status(200, "")];
    replies.extend(vec![Reply::Refused; 3]);
    let drained = outboxes.drain(&fake, common(), replies).await;
    assert_eq!(counts(&drained.lanes[0]), [0, 0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn server_errors_heal_and_success_resets_patience() {
    let outboxes = Outboxes::numbered(Call::Track, 20);
    let fake = Arc::new(Fake { requests: 1, ..Fake::new(delivered) });
    let mut replies = Vec::new();
    for _ in 0..5 {
        replies.extend(vec![Reply::status(502, ""); 3]);
        replies.push(Reply::status(200, ""));
    }
    let drained = outboxes.drain(&fake, one_at_a_time(1), replies).await;
    assert_eq!(counts(&drained.lanes[0]), [15, 0, 0, 5]);
    assert_eq!(drained.lanes[0].halted, None);
}

#[tokio::test(start_paused = true)]
async fn throttling_costs_no_attempt() {
    let outboxes = Outboxes::numbered(Call::Track, 1);
    let fake = Arc::new(Fake { requests: 1, ..Fake::new(delivered) });
    let drained = outboxes.drain(&fake, common(), vec![Reply::status(429, ""); 6]).await;
    assert_eq!(counts(&drained.lanes[0]), [1, 0, 0, 0]);
    assert_eq!(drained.throttled, 6);
    assert_eq!(drained.elapsed.as_secs(), 1 + 2 + 4 + 8 + 16 + 32);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_too_long_leaves_the_rest_pending() {
    let outboxes = Outboxes::numbered(Call::Track, 50);
    let fake = Arc::new(Fake { requests: 1, ..Fake::new(delivered) });
    let mut headers = http::HeaderMap::new();
    headers.insert("retry-after", http::HeaderValue::from_static("3600"));
    let throttled = Reply::Answer(Response { status: 429, headers, body: bytes::Bytes::new() });
    let drained = outboxes.drain(&fake, one_at_a_time(1), vec![throttled]).await;
    assert_eq!(counts(&drained.lanes[0]), [0, 0, 50, 0]);
    assert_eq!(drained.requests, 1);
    assert_eq!(drained.elapsed, Duration::ZERO);
    let fault = drained.lanes[0].fault.as_deref().unwrap();
    assert!(fault.contains("nothing may be sent before 1970-01-01T01:00:00Z"), "{fault}");
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_halt_the_destination() {
    let outboxes = Outboxes::numbered(Call::Track, 100).with(Call::Track, &["x", "y"]);
    let fake = Arc::new(Fake { requests: 1, ..Fake::new(delivered) });
    let replies = vec![Reply::status(200, ""), Reply::status(401, "who is hush?")];
    let drained = outboxes.drain(&fake, one_at_a_time(1), replies).await;
    assert_eq!(counts(&drained.lanes[0]), [1, 0, 99, 0]);
    assert_eq!(counts(&drained.lanes[1]), [0, 0, 2, 0]);
    for lane in &drained.lanes {
        let halted = lane.halted.as_deref().unwrap();
        assert_eq!(halted, "credentials refused: HTTP 401 Unauthorized: who is [secret]?");
    }
}

#[tokio::test(start_paused = true)]
async fn a_misconfigured_sync_halts_alone() {
    let outboxes = Outboxes::numbered(Call::Track, 100).with(Call::Track, &["x", "y"]);
    let fake = Arc::new(Fake::new(|batch| match batch.messages()[0].key() {
        "x" | "y" => delivered(batch),
        _ => Err(Fault::Misconfigured { reason: "no such list".into() }),
    }));
    let drained = outboxes.drain(&fake, one_at_a_time(1), vec![]).await;
    assert_eq!(counts(&drained.lanes[0]), [0, 0, 100, 0]);
    assert_eq!(counts(&drained.lanes[1]), [2, 0, 0, 0]);
    assert_eq!(drained.lanes[0].halted.as_deref(), Some("misconfigured: no such list"));
    assert_eq!(drained.lanes[1].halted, None);
}

#[tokio::test(start_paused = true)]
async fn unreadable_replies_are_never_success() {
    let outboxes = Outboxes::numbered(Call::Track, 10);
    let fake = Arc::new(Fake::new(|_| Err(Fault::Protocol { reason: "<html>".into() })));
    let drained = outboxes.drain(&fake, one_at_a_time(1), vec![]).await;
    assert_eq!(counts(&drained.lanes[0]), [0, 0, 7, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_of_another_batch_is_no_receipt() {
    let outboxes = Outboxes::numbered(Call::Track, 4);
    let fake = Arc::new(Fake::new(|batch| {
        let other = Batch::new(batch.messages()[..1].to_vec()).unwrap();
        Ok(other.delivered().into())
    }));
    let drained = outboxes.drain(&fake, batched(4), vec![]).await;
    assert_eq!(counts(&drained.lanes[0]), [0, 0, 0, 4]);
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_too_large_are_rejected_here() {
    let mut rows = vec![row("a", Change::Entered), row("b", Change::Entered)];
    rows[1].values = vec![Some(serde_json::json!(17))];
    rows[1].subject = "long".repeat(400);
    let outboxes = Outboxes::new().with_rows(Call::Track, rows);
    let fake = Arc::new(Fake::new(delivered));
    let drained = outboxes.drain(&fake, batched(10), vec![]).await;
    assert_eq!(counts(&drained.lanes[0]), [1, 1, 0, 0]);
    assert_eq!(fake.sent(), ["a"]);
    assert!(outboxes.replay(0).reasons[&1].ends_with("the destination takes at most 1000"));
}

#[tokio::test(start_paused = true)]
async fn cancelling_lets_requests_in_flight_finish() {
    let outboxes = Outboxes::numbered(Call::Track, 1000);
    let latency = Duration::from_secs(2);
    let fake = Arc::new(Fake { latency, ..Fake::new(delivered) });
    let (cancel, control) = control();
    let session = Session::scripted(&terms(common()), vec![]);
    let work = outboxes.work(&fake, common());
    let stop = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        cancel.send_replace(true);
    };
    let (drained, ()) = tokio::join!(drain::drain_through(session, work, control), stop);
    outboxes.prove(&drained);
    assert_eq!(counts(&drained.lanes[0]), [16, 0, 984, 0]);
    assert_eq!(drained.elapsed, Duration::from_secs(4));
    assert!(drained.cancelled && drained.lanes[0].halted.is_none());
}

#[tokio::test(start_paused = true)]
async fn cancelling_drops_what_takes_too_long() {
    let outboxes = Outboxes::numbered(Call::Track, 100);
    let latency = Duration::from_secs(60);
    let fake = Arc::new(Fake { latency, ..Fake::new(delivered) });
    let (cancel, control) = control();
    let session = Session::scripted(&terms(common()), vec![]);
    let work = outboxes.work(&fake, common());
    let stop = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cancel.send_replace(true);
    };
    let (drained, ()) = tokio::join!(drain::drain_through(session, work, control), stop);
    outboxes.prove(&drained);
    assert_eq!(counts(&drained.lanes[0]), [0, 0, 92, 8]);
    assert_eq!(drained.elapsed, Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_written_stops_everything() {
    let outboxes = Outboxes::numbered(Call::Track, 100);
    let fake = Arc::new(Fake::new(delivered));
    let work = outboxes.work(&fake, common());
    work.lanes[0].journal.break_for_test();
    let (_cancel, control) = control();
    let session = Session::scripted(&terms(common()), vec![]);
    let drained = drain::drain_through(session, work, control).await;
    outboxes.prove(&drained);
    assert_eq!(counts(&drained.lanes[0]), [0, 0, 100, 0]);
    assert!(fake.sent().is_empty());
    assert!(drained.lanes[0].halted.as_deref().unwrap().starts_with("could not write the journal"));
}

#[tokio::test(start_paused = true)]
async fn an_outbox_that_cannot_be_read_halts_its_sync() {
    let outboxes = Outboxes::numbered(Call::Track, 3);
    let fake = Arc::new(Fake::new(delivered));
    let mut work = outboxes.work(&fake, common());
    work.lanes[0].blocks = Box::new(outboxes.blocks(0).chain([Err("torn file".into())]));
    work.lanes[0].changes = 5;
    let (_cancel, control) = control();
    let session = Session::scripted(&terms(common()), vec![]);
    let drained = drain::drain_through(session, work, control).await;
    assert_eq!(drained.lanes[0].total(), 5);
    assert_eq!(drained.lanes[0].halted.as_deref(), Some("torn file"));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_opened_halts_its_sync() {
    let outboxes = Outboxes::new().with(Call::Track, &["a"]).with(Call::Track, &["b"]);
    let open = Box::new(|target: &Target| match target.sync.as_str() {
        "model_0.fake" => Err(Fault::Misconfigured { reason: "no such list".into() }),
        _ => Ok(Remote(serde_json::json!("list 7"))),
    });
    let fake = Arc::new(Fake { open, ..Fake::new(delivered) });
    let drained = outboxes.drain(&fake, common(), vec![]).await;
    assert_eq!(counts(&drained.lanes[0]), [0, 0, 1, 0]);
    assert_eq!(counts(&drained.lanes[1]), [1, 0, 0, 0]);
    assert_eq!(drained.lanes[1].remote, Some(Remote(serde_json::json!("list 7"))));
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_kept_and_used_whatever_the_latency() {
    for (rate, latency) in [(8.0, 10), (50.0, 1000), (500.0, 200), (1000.0, 1000)] {
        let seconds = 5.0;
        let outboxes = Outboxes::numbered(Call::Track, (rate * seconds) as usize);
        let latency = Duration::from_millis(latency);
        let fake = Arc::new(Fake { requests: 1, ..Fake::new(delivered) });
        let common = Common { rate_limit: Some(rate), concurrency: Some(1024), ..common() };
        let session = Session::scripted_slowly(&terms(common.clone()), vec![], latency);
        let (_cancel, control) = control();
        let work = outboxes.work(&fake, common);
        let drained = drain::drain_through(session, work, control).await;
        outboxes.prove(&drained);
        let used = rate * seconds / drained.elapsed.saturating_sub(latency).as_secs_f64();
        assert!(used <= rate * 1.05 && used >= rate * 0.97, "{rate}/s: {used}/s");
    }
}

#[tokio::test(start_paused = true)]
async fn progress_is_told_but_not_too_often() {
    let outboxes = Outboxes::numbered(Call::Track, 800);
    let latency = Duration::from_millis(10);
    let fake = Arc::new(Fake { latency, ..Fake::new(delivered) });
    let told = Arc::new(Mutex::new(Vec::new()));
    let (_cancel, mut control) = control();
    let heard = Arc::clone(&told);
    control.progress = Arc::new(move |progress| heard.lock().unwrap().push(progress));
    let session = Session::scripted(&terms(common()), vec![]);
    let drained = drain::drain_through(session, outboxes.work(&fake, common()), control).await;
    let told = told.lock().unwrap();
    assert_eq!(drained.elapsed, Duration::from_secs(1));
    assert!((5..=12).contains(&told.len()), "{}", told.len());
    assert!(told.last().is_some_and(|last| last.settled == 800 && last.total == 800));
}
