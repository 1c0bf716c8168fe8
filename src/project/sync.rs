//! The `sync` list of a header: where a model goes, and how.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::section::{Document, Expected, Section, count, quoted};
use super::{Bound, Emails, Guard, ModelKind, OnMissing, SyncEntry};
use crate::finding::{Finding, nearest};
use crate::record::Call;

const TITLE: &str = "`sync`";
const TRAIT_COMPUTED: &str = "Trait Computed";
const LIST: Expected<'_> = Expected {
    what: "a list of names and tables with `to`",
    example: "[\"crm\", { to = \"ads\" }]",
};
const GUARD: Expected<'_> =
    Expected { what: "a table or `false`", example: "{ max_exit = \"5%\" }" };
const BOUND: Expected<'_> =
    Expected { what: "a share such as `5%` or a number of records", example: "\"5%\"" };

/// What the entries of one model's list are checked against.
struct Entries<'a> {
    document: &'a Document,
    kind: ModelKind,
    destinations: &'a BTreeSet<String>,
}

/// Reads `sync`: a list of names and tables, or a single one of either.
pub(super) fn read(
    header: &mut Section<'_>,
    kind: ModelKind,
    destinations: &BTreeSet<String>,
) -> Vec<SyncEntry> {
    let document = header.document();
    let entries = Entries { document, kind, destinations };
    let Some(value) = header.value("sync") else { return Vec::new() };
    let read: Vec<SyncEntry> = match value.get_ref() {
        DeValue::Array(values) => values.iter().filter_map(|value| entries.entry(value)).collect(),
        DeValue::String(_) | DeValue::Table(_) => entries.entry(value).into_iter().collect(),
        _ => {
            entries.report_no_entry(value);
            Vec::new()
        }
    };
    without_repeats(document, read)
}

/// A sync is named after its model and destination, so there can be one of each.
fn without_repeats(document: &Document, entries: Vec<SyncEntry>) -> Vec<SyncEntry> {
    let mut seen = BTreeSet::new();
    let (first, repeated): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| seen.insert(entry.to.clone()));
    for SyncEntry { to, span, .. } in repeated {
        document.report(
            Finding::error("H05", format!("the destination `{to}` stands twice in `sync`"))
                .at(document.source(), Some(span))
                .label("a second time")
                .hint("configure a second destination under another name"),
        );
    }
    first
}

impl Entries<'_> {
    fn entry(&self, value: &Spanned<DeValue<'_>>) -> Option<SyncEntry> {
        match value.get_ref() {
            DeValue::String(name) if !name.trim().is_empty() => {
                self.check_destination(name, value.span());
                Some(plain(name, value.span()))
            }
            DeValue::Table(table) => self.detailed(table, value.span()),
            _ => {
                self.report_no_entry(value);
                None
            }
        }
    }

    fn detailed(&self, table: &DeTable<'_>, span: Range<usize>) -> Option<SyncEntry> {
        let mut section = self.document.section(TITLE, table);
        let to = section.string("to");
        match &to {
            Some(to) => self.check_destination(to.get_ref(), to.span()),
            None if !table.contains_key("to") => self.report_nowhere(span.clone()),
            None => {}
        }
        let name = to.map(Spanned::into_inner).unwrap_or_default();
        let mut entry = plain(name, span);
        self.how(&mut section, &mut entry);
        self.when(&mut section, &mut entry);
        section.finish();
        (!entry.to.is_empty()).then_some(entry)
    }

    /// What is sent.
    fn how(&self, section: &mut Section<'_>, entry: &mut SyncEntry) {
        let calls = [Call::Identify, Call::Track, Call::Group, Call::List];
        entry.call =
            section.choice("as", &calls.map(|call| (call.as_str(), call))).map(Spanned::into_inner);
        if let Some(event) = section.string("event") {
            self.check_event(event.span(), entry.call);
            event.into_inner().clone_into(&mut entry.event);
        }
        let words = [("null", OnMissing::Null), ("keep", OnMissing::Keep)];
        if let Some(on_missing) = section.choice("on_missing", &words) {
            if self.kind == ModelKind::Audience {
                self.report_for_traits_only("on_missing", on_missing.span());
            }
            entry.on_missing = on_missing.into_inner();
        }
        entry.emails = self.emails(section);
        entry.list = section.string("list").map(|list| list.into_inner().to_owned());
        entry.fields = section.string_map("fields");
    }

    /// What makes a sync happen or not.
    fn when(&self, section: &mut Section<'_>, entry: &mut SyncEntry) {
        entry.history = section.boolean("history").unwrap_or(entry.history);
        entry.resync_on_new_identifier =
            section.boolean("resync_on_new_identifier").unwrap_or(entry.resync_on_new_identifier);
        entry.every = section.duration("every");
        entry.guard = self.guard(section);
    }

    fn emails(&self, section: &mut Section<'_>) -> Emails {
        let Some(table) = section.table("identifiers") else { return Emails::default() };
        let mut identifiers = self.document.section("`identifiers`", table.into_inner());
        let words = [("all", Emails::All), ("first", Emails::First), ("last", Emails::Last)];
        let emails = identifiers.choice("email", &words).map(Spanned::into_inner);
        identifiers.finish();
        emails.unwrap_or_default()
    }

    fn guard(&self, section: &mut Section<'_>) -> Guard {
        let Some(value) = section.value("guard") else { return Guard::default() };
        match value.get_ref() {
            DeValue::Table(table) => self.bounds(table),
            DeValue::Boolean(false) => {
                Guard { max_exit: Bound::Share(1.0), max_change: None, min_size: u64::MAX }
            }
            _ => {
                self.document.mismatch("guard", TITLE, value, GUARD);
                Guard::default()
            }
        }
    }

    fn bounds(&self, table: &DeTable<'_>) -> Guard {
        let mut section = self.document.section("`guard`", table);
        let mut guard = Guard::default();
        guard.max_exit = self.bound(&mut section, "max_exit").unwrap_or(guard.max_exit);
        guard.max_change = self.bound(&mut section, "max_change");
        guard.min_size = section.count("min_size").unwrap_or(guard.min_size);
        section.finish();
        guard
    }

    fn bound(&self, section: &mut Section<'_>, key: &'static str) -> Option<Bound> {
        let value = section.value(key)?;
        let bound = match value.get_ref() {
            DeValue::String(text) => share(text).map(Bound::Share),
            number => count(number).map(Bound::Records),
        };
        if bound.is_none() {
            self.document.mismatch(key, "`guard`", value, BOUND);
        }
        bound
    }

    fn check_event(&self, span: Range<usize>, call: Option<Call>) {
        if self.kind == ModelKind::Audience {
            self.report_for_traits_only("event", span);
        } else if let Some(call) = call.filter(|call| *call != Call::Track) {
            let message = format!("`event` has no meaning with `as = \"{call}\"`");
            self.document.report(
                self.document
                    .wrong(span, message)
                    .label("only `track` calls have an event")
                    .hint("remove `event`, or write `as = \"track\"`"),
            );
        }
    }

    fn report_for_traits_only(&self, key: &str, span: Range<usize>) {
        let message = format!("`{key}` has no meaning for an audience");
        self.document.report(
            self.document
                .wrong(span, message)
                .label("for traits only")
                .hint(format!("remove `{key}`")),
        );
    }

    fn report_no_entry(&self, value: &Spanned<DeValue<'_>>) {
        let title = format!("`[{}]`", self.kind.as_str());
        self.document.mismatch("sync", &title, value, LIST);
    }

    fn report_nowhere(&self, span: Range<usize>) {
        self.document.report(
            self.document
                .wrong(span, "an entry of `sync` does not say where to")
                .label("`to` is missing")
                .hint("add the name of a configured destination, such as `to = \"crm\"`"),
        );
    }

    fn check_destination(&self, name: &str, span: Range<usize>) {
        if self.destinations.contains(name) {
            return;
        }
        let known: Vec<&str> = self.destinations.iter().map(String::as_str).collect();
        let finding = Finding::error("S01", format!("no destination is configured as `{name}`"))
            .at(self.document.source(), Some(span))
            .label("not in `muster.toml`");
        let finding = match nearest(name, known.iter().copied()) {
            Some(likely) => finding.hint(format!("did you mean `{likely}`?")),
            None => finding.hint(format!("add `[destinations.{name}]` to `muster.toml`")),
        };
        self.document.report(if known.is_empty() {
            finding.note("no destination is configured")
        } else {
            finding.note(format!("configured destinations: {}", quoted(&known)))
        });
    }
}

/// An entry of which only the destination is said.
fn plain(to: &str, span: Range<usize>) -> SyncEntry {
    SyncEntry {
        to: to.to_owned(),
        call: None,
        event: TRAIT_COMPUTED.to_owned(),
        history: true,
        emails: Emails::default(),
        resync_on_new_identifier: true,
        on_missing: OnMissing::default(),
        every: None,
        list: None,
        fields: std::collections::BTreeMap::new(),
        guard: Guard::default(),
        span,
    }
}

/// `5%` as 0.05.
fn share(text: &str) -> Option<f64> {
    let number = text.trim().strip_suffix('%')?.trim_end();
    let percent = number.parse::<f64>().ok().filter(|_| number.starts_with(char::is_numeric))?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_are_percentages() {
        let cases = [
            ("5%", Some(0.05)),
            ("12.5 %", Some(0.125)),
            ("0%", Some(0.0)),
            ("100%", Some(1.0)),
            ("101%", None),
            ("-1%", None),
            ("nan%", None),
            ("5", None),
            ("%", None),
        ];
        for (text, expected) in cases {
            assert_eq!(share(text), expected, "{text}");
        }
    }
}
