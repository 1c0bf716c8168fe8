//! `check`, `preview`, `query`, `status`, `history` and `rejected`: what only looks.

use super::answer;
use super::args::{History, Preview, Query, Rejected};
use super::errors::{self, Failure};
use super::table::table;
use super::wording::{count, number, time, visible};
use super::{Context, EXIT_REFUSED};
use crate::finding::Finding;
use crate::run::{self, Answer};
use crate::state::RunRecord;

pub(super) async fn check(context: &Context) -> Result<u8, Failure> {
    let project = context.load()?;
    let findings = run::check(&project, context.verbose, context.now).await;
    let wrong = findings.iter().any(Finding::is_error);
    if context.printer.is_json() {
        context.printer.json(&errors::Document::of(&findings))?;
    } else if !findings.is_empty() {
        context.printer.say(&errors::render(&findings, context.printer.stderr.paint));
    }
    if !wrong && !context.printer.is_json() {
        let syncs = project.models.iter().map(|model| model.syncs.len() as u64).sum();
        context.printer.print(&format!(
            "ok: {}, {}, {}",
            count(project.models.len() as u64, "model"),
            count(syncs, "sync"),
            count(project.destinations.len() as u64, "destination")
        ))?;
    }
    Ok(if wrong { EXIT_REFUSED } else { 0 })
}

pub(super) async fn preview(context: &Context, arguments: &Preview) -> Result<u8, Failure> {
    let project = context.load()?;
    let limit = arguments.limit;
    let as_of = arguments.time.of(context);
    let model = &arguments.model;
    let answer = run::preview(&project, model, limit, Some(as_of), context.now).await?;
    show(context, &answer)
}

pub(super) async fn query(context: &Context, arguments: &Query) -> Result<u8, Failure> {
    let project = context.load()?;
    let as_of = arguments.time.of(context);
    let answer = run::query(&project, &arguments.sql, Some(as_of), context.now).await?;
    show(context, &answer)
}

fn show(context: &Context, answer: &Answer) -> Result<u8, Failure> {
    match context.printer.is_json() {
        true => context.printer.json(&answer::Document::of(answer))?,
        false => context.printer.print(&answer::text(answer))?,
    }
    Ok(0)
}

pub(super) async fn status(context: &Context) -> Result<u8, Failure> {
    let project = context.load()?;
    let all = run::status(&project, context.now).await?;
    if context.printer.is_json() {
        context.printer.json(&all)?;
        return Ok(0);
    }
    let head = ["sync", "delivered", "rejected", "unsettled", "last sent", "next"];
    let rows = all.iter().map(|status| {
        vec![
            status.sync.clone(),
            number(status.delivered),
            number(status.rejected),
            number(status.unsettled),
            status.synced_at.map_or_else(|| "never".into(), time),
            status.due.map_or_else(|| "any time".into(), time),
        ]
    });
    context.printer.print(&table(&head, rows))?;
    Ok(0)
}

pub(super) fn history(context: &Context, arguments: &History) -> Result<u8, Failure> {
    let project = context.load()?;
    let select: Vec<String> = arguments.sync.iter().cloned().collect();
    let mut runs = run::history(&project, &select)?;
    runs.truncate(arguments.limit);
    if context.printer.is_json() {
        context.printer.json(&runs)?;
        return Ok(0);
    }
    let head = [
        "run",
        "as of",
        "sync",
        "entered",
        "exited",
        "changed",
        "delivered",
        "rejected",
        "pending",
        "exit",
    ];
    context.printer.print(&table(&head, runs.iter().flat_map(run_rows)))?;
    Ok(0)
}

/// The syncs of a run that had something to do; a line for the run itself when none had.
fn run_rows(run: &RunRecord) -> Vec<Vec<String>> {
    let row = |sync: String, counts: [u64; 6]| {
        let mut row = vec![run.run.to_string(), time(run.as_of), sync];
        row.extend(counts.map(number));
        row.push(run.exit_code.to_string());
        row
    };
    let busy = run.syncs.iter().filter(|sync| sync.differing() > 0);
    let rows: Vec<_> = busy
        .map(|sync| {
            let moved = [sync.entered, sync.exited, sync.changed + sync.resynced];
            let became = [sync.delivered, sync.rejected, sync.pending];
            row(sync.sync.clone(), [moved[0], moved[1], moved[2], became[0], became[1], became[2]])
        })
        .collect();
    if rows.is_empty() { vec![row("nothing to send".into(), [0; 6])] } else { rows }
}

pub(super) async fn rejected(context: &Context, arguments: &Rejected) -> Result<u8, Failure> {
    let project = context.load()?;
    let select: Vec<String> = arguments.sync.iter().cloned().collect();
    let rows = run::rejected(&project, &select, context.now).await?;
    if context.printer.is_json() {
        context.printer.json(&rows)?;
        return Ok(0);
    }
    if rows.is_empty() {
        context.printer.print("no rows are rejected")?;
        return Ok(0);
    }
    let head = ["sync", "subject", "email", "since", "times", "again", "reason"];
    let text = table(
        &head,
        rows.iter().map(|row| {
            vec![
                row.sync.clone(),
                visible(&row.subject),
                row.email.as_deref().map(visible).unwrap_or_default(),
                row.since.map_or_else(|| "not sent".into(), time),
                number(row.refusals),
                row.retry_at.map_or_else(String::new, time),
                visible(&row.reason),
            ]
        }),
    );
    context.printer.print(&(text + "\n`muster retry` sends refused rows again\n"))?;
    Ok(0)
}
