//! `destinations`: the catalogue, one page per type, and proving credentials.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::args::Destinations;
use super::errors::Failure;
use super::table::table;
use super::wording::{count, duration, number};
use super::{Context, pages};
use crate::destinations::{CATALOGUE, Entry, Mode, OptionDoc, Spec, entry, names};
use crate::finding::{Finding, nearest};
use crate::run;

pub(super) async fn destinations(
    context: &Context,
    arguments: &Destinations,
) -> Result<u8, Failure> {
    if let Some(name) = &arguments.test {
        return test(context, name).await;
    }
    if let Some(folder) = &arguments.docs {
        pages::write(folder)?;
        return Ok(0);
    }
    let shown: Vec<&Entry> = match &arguments.kind {
        None => CATALOGUE.iter().collect(),
        Some(kind) => vec![entry(kind).ok_or_else(|| unknown(kind))?],
    };
    if context.printer.is_json() {
        let all: Vec<Value> = shown.iter().map(|entry| document(entry)).collect();
        context.printer.json(&all)?;
        return Ok(0);
    }
    let text = match (&arguments.kind, shown.as_slice()) {
        (Some(_), [entry]) => page(entry),
        _ => overview(&shown),
    };
    context.printer.print(&text)?;
    Ok(0)
}

async fn test(context: &Context, name: &str) -> Result<u8, Failure> {
    let project = context.load()?;
    run::test_destination(&project, name).await?;
    if context.printer.is_json() {
        context.printer.json(&json!({ "destination": name, "ok": true }))?;
    } else {
        context.printer.print(&format!("ok: `{name}`"))?;
    }
    Ok(0)
}

fn unknown(kind: &str) -> Finding {
    let finding = Finding::error("D01", format!("there is no destination of type `{kind}`"))
        .note(format!("known types: {}", names().join(", ")));
    match nearest(kind, names()) {
        Some(near) => finding.hint(format!("did you mean `{near}`?")),
        None => finding.hint("`muster destinations` lists all types"),
    }
}

fn overview(entries: &[&Entry]) -> String {
    let head = ["type", "mode", "calls", "maturity", "sends"];
    let rows = entries.iter().map(|entry| {
        let spec = entry.spec;
        vec![
            spec.kind.to_owned(),
            spec.mode.as_str().to_owned(),
            calls(spec),
            spec.maturity.as_str().to_owned(),
            spec.summary.to_owned(),
        ]
    });
    table(&head, rows) + "\n`muster destinations TYPE` shows options, limits and an example\n"
}

pub(super) fn calls(spec: &Spec) -> String {
    spec.calls.iter().map(|call| call.as_str()).collect::<Vec<_>>().join(", ")
}

fn page(entry: &Entry) -> String {
    let spec = entry.spec;
    let mut text = format!("{} ({})\n\n{}\n\n", spec.title, spec.kind, spec.summary);
    let mut fact = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    fact("mode", spec.mode.as_str().into());
    fact("calls", calls(spec));
    fact("identifiers", spec.identifiers.into());
    if let Some((name, value)) = of_profiles(spec) {
        fact(name, value);
    }
    fact("limits", limits(spec));
    if !spec.min_interval.is_zero() {
        fact("every", format!("at most every {}", duration(spec.min_interval)));
    }
    for (name, value) in of_list(spec) {
        fact(name, value);
    }
    fact(
        "maturity",
        format!("{} (nobody ran it against the live service yet)", spec.maturity.as_str()),
    );
    text += "\noptions\n";
    text += &options(entry.options.iter().chain(entry.common));
    for note in spec.notes {
        let _ = write!(text, "\n- {note}");
    }
    let _ = write!(text, "\n\nexample\n\n{}\n", spec.example.trim());
    text
}

/// Columns of `profiles` that travel with every message.
fn of_profiles(spec: &Spec) -> Option<(&'static str, String)> {
    let list = |names: &[&str]| names.join(", ");
    let value = match (spec.required, spec.profile) {
        ([], []) => return None,
        (needed, []) => format!("{} (needed)", list(needed)),
        ([], taken) => format!("{}, where they are known", list(taken)),
        (needed, taken) => {
            format!("{} (needed); {}, where they are known", list(needed), list(taken))
        }
    };
    Some(("profiles", value))
}

/// What only lists have.
pub(super) fn of_list(spec: &Spec) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if spec.mode != Mode::List {
        return facts;
    }
    facts.push(("receipts", spec.receipts.as_str().to_owned()));
    if let Some(life) = spec.forgets {
        let life = duration(life);
        facts.push(("forgets", format!("members after {life}; they are added again in time")));
    }
    if let Some(least) = spec.min_members {
        facts.push(("smallest", format!("lists of {} members are used", number(least))));
    }
    if spec.replaces {
        facts.push(("replace", "`muster run --replace SYNC` replaces a whole list".to_owned()));
    }
    facts
}

pub(super) fn limits(spec: &Spec) -> String {
    let mut limits: Vec<String> = spec
        .quotas
        .iter()
        .map(|quota| format!("{} requests per {}", number(quota.limit.into()), duration(quota.per)))
        .collect();
    if limits.is_empty() {
        limits.push("no rate limit unless `rate_limit` is set".into());
    }
    limits.extend(spec.daily.map(|limit| format!("{} requests in any 24 hours", number(limit))));
    limits.extend(spec.endpoints.iter().map(|(name, quota)| {
        let limit = number(quota.limit.into());
        format!("{limit} per {} to `{name}`", duration(quota.per))
    }));
    let batch = &spec.batch;
    let rows = count(batch.rows as u64, "message");
    limits.push(format!("{rows} per request (at most {})", number(batch.max_rows as u64)));
    if batch.bytes < usize::MAX {
        limits.push(format!("{} bytes per request", number(batch.bytes as u64)));
    }
    if batch.row_bytes < usize::MAX {
        limits.push(format!("{} bytes per message", number(batch.row_bytes as u64)));
    }
    limits.join(", ")
}

fn options<'a>(options: impl Iterator<Item = &'a OptionDoc>) -> String {
    let rows = options.map(|option| {
        let required = if option.required { "required; " } else { "" };
        vec![format!("  {}", option.name), format!("{required}{}", option.about)]
    });
    let text = table(&["", ""], rows);
    text.lines().skip(1).fold(String::new(), |text, line| text + line + "\n")
}

fn document(entry: &Entry) -> Value {
    let spec = entry.spec;
    let option = |option: &OptionDoc| json!({ "name": option.name, "about": option.about, "required": option.required });
    json!({
        "type": spec.kind,
        "title": spec.title,
        "summary": spec.summary,
        "mode": spec.mode.as_str(),
        "calls": spec.calls.iter().map(|call| call.as_str()).collect::<Vec<_>>(),
        "identifiers": spec.identifiers,
        "profiles": { "needed": spec.required, "taken": spec.profile },
        "limits": limits(spec),
        "receipts": spec.receipts.as_str(),
        "replaces": spec.replaces,
        "options": entry.options.iter().chain(entry.common).map(option).collect::<Vec<_>>(),
        "maturity": spec.maturity.as_str(),
        "notes": spec.notes,
        "example": spec.example,
    })
}
