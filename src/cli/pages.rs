//! The catalogue as Markdown: one page per destination and a table of all, made from the same data that
//! `muster destinations` shows. `cargo run -- destinations --docs docs/destinations` writes them anew;
//! a test compares them with what is there.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::catalogue::{calls, limits, of_list};
use super::errors::Failure;
use super::wording::duration;
use crate::destinations::{CATALOGUE, Entry, Grain, Idempotency, OptionDoc, Spec};
use crate::finding::Finding;

const MADE: &str = "<!-- Made from the catalogue by `cargo run -- destinations --docs docs/destinations`; \
                    changes here are overwritten. -->\n\n";

/// Writes every page, and the table.
pub(super) fn write(folder: &Path) -> Result<(), Failure> {
    let pages = CATALOGUE.iter().map(|entry| (format!("{}.md", entry.spec.kind), page(entry)));
    for (name, text) in pages.chain([("README.md".to_owned(), overview())]) {
        let path = folder.join(name);
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::File::create(&path))
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| {
            Finding::error("K02", format!("could not write `{}`", path.display()))
                .note(error.to_string())
        })?;
    }
    Ok(())
}

fn overview() -> String {
    let mut text = format!("# Destinations\n\n{MADE}");
    text +=
        "| type | mode | calls | told apart by | maturity | sends |\n|---|---|---|---|---|---|\n";
    for Entry { spec, .. } in CATALOGUE {
        let Spec { kind, summary, mode, grain, maturity, .. } = spec;
        let (mode, maturity) = (mode.as_str(), maturity.as_str());
        let cells = [
            format!("[`{kind}`]({kind}.md)"),
            mode.to_owned(),
            calls(spec),
            told_apart(*grain).to_owned(),
            maturity.to_owned(),
            (*summary).to_owned(),
        ];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text + "\n*Alpha*: passes what is tested of every destination. *Beta*: requests and replies are checked against the \
            vendor's\npublished schema or documents, with partial failure and throttling covered. Nothing is *stable*: \
            nobody has run any of\nthese against the live service yet.\n"
}

fn told_apart(grain: Grain) -> &'static str {
    match grain {
        Grain::Raw => "subject and email",
        Grain::Subject => "subject",
        Grain::Email => "email",
        Grain::List => "match fields",
    }
}

fn page(entry: &Entry) -> String {
    let spec = entry.spec;
    let mut text = format!("# {}\n\n{MADE}{}\n\n", spec.title, spec.summary);
    let _ = write!(text, "```toml\n{}\n```\n\n", spec.example.trim());
    text += "| | |\n|---|---|\n";
    for (name, value) in facts(spec) {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text += "\n## Options\n\n| option | |\n|---|---|\n";
    for option in entry.options.iter().chain(entry.common) {
        let OptionDoc { name, about, required } = option;
        let required = if *required { "**required**; " } else { "" };
        let _ = writeln!(text, "| `{name}` | {required}{} |", escaped(about));
    }
    text += "\n## Worth knowing\n\n";
    for note in spec.notes {
        let _ = writeln!(text, "- {note}");
    }
    text
}

fn facts(spec: &Spec) -> Vec<(&'static str, String)> {
    let list = |names: &[&str]| {
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    let mut facts = vec![
        ("mode", spec.mode.as_str().to_owned()),
        ("calls", calls(spec)),
        ("identifiers", spec.identifiers.to_owned()),
        ("one record per", told_apart(spec.grain).to_owned()),
        ("limits", limits(spec)),
        ("a repeated request", repeated(spec.idempotency).to_owned()),
    ];
    if !spec.required.is_empty() {
        facts.push(("needs of `profiles`", list(spec.required)));
    }
    if !spec.profile.is_empty() {
        facts.push(("takes from `profiles`", list(spec.profile)));
    }
    if !spec.min_interval.is_zero() {
        facts.push(("syncs", format!("at most every {}", duration(spec.min_interval))));
    }
    facts.extend(of_list(spec));
    if !spec.history {
        facts.push(("history", "none: the first run is always a baseline".to_owned()));
    }
    facts.push((
        "maturity",
        format!("{}; nobody ran it against the live service yet", spec.maturity.as_str()),
    ));
    facts
}

fn repeated(idempotency: Idempotency) -> &'static str {
    match idempotency {
        Idempotency::MessageId => "carries the same `messageId`",
        Idempotency::Natural => "has no further effect",
        Idempotency::None => "may do it twice, so a lost reply leaves its rows unsettled",
    }
}

/// A bar would end the cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}
