//! `run`, `retry`, `plan` and `reset`: what goes out, or would.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::watch;

use super::args::{Plan, Reset, Retry, Run};
use super::errors::{self, Failure};
use super::interrupt::Interrupts;
use super::progress::Display;
use super::table::table;
use super::wording::{count, duration, number, time};
use super::{Context, EXIT_REFUSED};
use crate::finding::Finding;
use crate::run::{self, Detail, PlannedRequest, PlannedSync, Report, Request};
use crate::state::{RunId, SyncRecord};

/// A guard would stop a sync.
const EXIT_GUARDED: u8 = 3;

pub(super) async fn run(context: &Context, arguments: Run) -> Result<u8, Failure> {
    let request = Request {
        select: arguments.selection.select,
        as_of: arguments.time.as_of,
        force: arguments.leave.force,
        allow_large_change: arguments.leave.allow_large_change,
        replace: arguments.replace,
        ..context.request()
    };
    deliver(context, request).await
}

pub(super) async fn retry(context: &Context, arguments: Retry) -> Result<u8, Failure> {
    let request = Request {
        select: arguments.selection.select,
        as_of: arguments.time.as_of,
        allow_large_change: arguments.allow_large_change,
        retry_rejected: true,
        ..context.request()
    };
    deliver(context, request).await
}

pub(super) async fn reset(context: &Context, arguments: Reset) -> Result<u8, Failure> {
    let sync = arguments.sync;
    if arguments.forget_list {
        run::forget_list(&context.load()?, &sync, &context.command, context.now)?;
    }
    if arguments.baseline {
        let request = Request {
            select: vec![sync],
            as_of: arguments.time.as_of,
            baseline: true,
            allow_large_change: true,
            ..context.request()
        };
        return deliver(context, request).await;
    }
    let project = context.load()?;
    run::reset(&project, &sync, &context.command, context.now)?;
    if context.printer.is_json() {
        context.printer.json(&serde_json::json!({ "sync": sync, "reset": true }))?;
    } else {
        context
            .printer
            .print(&format!("`{sync}` is forgotten; the next run sends everything again"))?;
    }
    Ok(0)
}

impl Context {
    /// A request that nobody watches and nothing interrupts.
    fn request(&self) -> Request {
        Request {
            command: self.command.clone(),
            select: Vec::new(),
            as_of: None,
            now: self.now,
            force: false,
            allow_large_change: false,
            replace: Vec::new(),
            retry_rejected: false,
            baseline: false,
            seed: u64::from(std::process::id()) ^ self.now.timestamp_micros().unsigned_abs(),
            cancel: watch::channel(false).1,
            progress: Arc::new(|_| ()),
        }
    }
}

/// What `run --format json` prints.
#[derive(Serialize)]
struct Document<'a> {
    run: &'a RunId,
    as_of: DateTime<Utc>,
    syncs: &'a [SyncRecord],
}

async fn deliver(context: &Context, request: Request) -> Result<u8, Failure> {
    let project = context.load()?;
    let printer = context.printer;
    // Without a way to listen Ctrl-C ends the process, which the next run mends.
    let interrupts = Interrupts::listen(printer).ok();
    let display = Display::new(printer);
    let request = Request {
        cancel: interrupts.as_ref().map_or(request.cancel, |it| it.cancel.clone()),
        progress: display.listener(),
        ..request
    };
    let outcome = Box::pin(run::run(&project, &request)).await;
    display.end();
    let Report { record, findings } = outcome?;
    say(context, &findings);
    if printer.is_json() {
        let document = Document { run: &record.run, as_of: record.as_of, syncs: &record.syncs };
        printer.json(&document)?;
        return Ok(record.exit_code);
    }
    let delivered: u64 = record.syncs.iter().map(|sync| sync.delivered).sum();
    let differing: u64 = record.syncs.iter().map(SyncRecord::differing).sum();
    let as_of = time(record.as_of);
    let summary = match differing {
        0 => format!("nothing to send, as of {as_of}"),
        _ => format!(
            "{} of {} delivered in {} and {}, as of {as_of}",
            number(delivered),
            count(differing, "change"),
            count(record.requests, "request"),
            duration(display.elapsed()),
        ),
    };
    printer.print(&format!("{}\n{summary}", run_table(&record.syncs)))?;
    Ok(record.exit_code)
}

fn say(context: &Context, findings: &[Finding]) {
    if !findings.is_empty() {
        context.printer.say(&errors::render(findings, context.printer.stderr.paint));
    }
}

fn run_table(syncs: &[SyncRecord]) -> String {
    let head = [
        "sync",
        "entered",
        "exited",
        "changed",
        "resynced",
        "unchanged",
        "delivered",
        "rejected",
        "pending",
        "",
    ];
    table(
        &head,
        syncs.iter().map(|sync| {
            let mut row = moved(sync);
            row.extend([sync.delivered, sync.rejected, sync.pending].map(number));
            row.push(note(sync));
            row
        }),
    )
}

fn moved(sync: &SyncRecord) -> Vec<String> {
    let counts = [sync.entered, sync.exited, sync.changed, sync.resynced, sync.unchanged];
    std::iter::once(sync.sync.clone()).chain(counts.map(number)).collect()
}

fn note(sync: &SyncRecord) -> String {
    let mut notes: Vec<String> = sync.skipped.iter().cloned().collect();
    if sync.invalid > 0 {
        notes.push(format!("{} invalid", number(sync.invalid)));
    }
    if sync.suppressed > 0 {
        notes.push(format!("{} suppressed", number(sync.suppressed)));
    }
    notes.join(", ")
}

pub(super) async fn plan(context: &Context, arguments: Plan) -> Result<u8, Failure> {
    let project = context.load()?;
    let display = Display::new(context.printer);
    let request = Request {
        select: arguments.selection.select,
        as_of: arguments.time.as_of,
        force: arguments.leave.force,
        allow_large_change: arguments.leave.allow_large_change,
        progress: display.listener(),
        ..context.request()
    };
    let detail = Detail { payloads: arguments.payloads, sql: arguments.sql };
    let outcome = Box::pin(run::plan(&project, &request, detail)).await;
    display.end();
    let plan = outcome?;
    say(context, &plan.findings);
    if context.printer.is_json() {
        context.printer.json(&plan)?;
    } else {
        context.printer.print(&plan_text(&plan.syncs, plan.as_of))?;
    }
    let guarded = plan.findings.iter().any(|finding| finding.code.starts_with('G'));
    Ok(if guarded { EXIT_GUARDED } else { 0 })
}

fn plan_text(syncs: &[PlannedSync], as_of: DateTime<Utc>) -> String {
    let head =
        ["sync", "entered", "exited", "changed", "resynced", "unchanged", "requests", "time", ""];
    let mut text = table(
        &head,
        syncs.iter().map(|sync| {
            let mut row = moved(&sync.record);
            row.push(number(sync.request_count));
            row.push(sync.seconds.map_or_else(|| "no limit".into(), seconds));
            let due = sync.due.map(|due| format!("not due before {}", time(due)));
            let notes = due.into_iter().chain([note(&sync.record)]).filter(|it| !it.is_empty());
            row.push(notes.collect::<Vec<_>>().join(", "));
            row
        }),
    );
    let _ = writeln!(text, "\nas of {}; nothing was sent or stored", time(as_of));
    for sync in syncs {
        let name = &sync.record.sync;
        for request in &sync.requests {
            let _ = write!(text, "\n-- {name}\n{}", wire(request));
        }
        if let Some(sql) = &sync.sql {
            let _ = writeln!(text, "\n-- {name}\n{}", sql.trim_end());
        }
    }
    text
}

fn seconds(value: f64) -> String {
    Duration::try_from_secs_f64(value).map_or_else(|_| "for ever".into(), duration)
}

/// A request as it would go over the wire.
fn wire(request: &PlannedRequest) -> String {
    let mut text = format!("{} {}\n", request.method, request.url);
    for (name, value) in &request.headers {
        let _ = writeln!(text, "{name}: {value}");
    }
    let body = match &request.body {
        serde_json::Value::String(body) => body.clone(),
        body => serde_json::to_string_pretty(body).unwrap_or_default(),
    };
    text + "\n" + body.trim_end() + "\n"
}

const _: () = assert!(EXIT_REFUSED == 2, "usage errors and refusals share clap's exit code");
