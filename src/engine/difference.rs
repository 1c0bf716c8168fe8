//! The set difference: desired records against what the destination acknowledged, in SQL, as one full
//! outer join of two inputs sorted by record key. Pure: makes SQL.
//!
//! Both files declare their order, so that DataFusion merges them without sorting again, and what differs is
//! read on in that order.

use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, Utc};
use datafusion::arrow::datatypes::{DataType, Field, Schema};

use super::columns::{ModelColumn, literal, quoted};
use super::records::Records;
use crate::destinations::Grain;
use crate::project::ModelKind;

/// How the difference is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// What changed goes out.
    Normal,
    /// The present is recorded as delivered and nothing goes out.
    Baseline,
    /// Whoever is wanted goes out, and whoever is not is displaced.
    Replace,
}

/// Columns of the state beside values and identifiers, all of which the difference hands on.
const STATE: [&str; 9] = [
    "standing",
    "present",
    "origin",
    "fingerprint",
    "reason",
    "refusals",
    "refused_at",
    "retry_at",
    "run",
];

/// The email that the destination is known to have of a subject.
pub(super) const EMAIL_BEFORE: &str = "email_before";

/// Wanted, and as far as is known not there.
const ABSENT: &str = "c.wanted AND (NOT c.known OR c.present = FALSE)";

/// The SQL of one sync's difference. Selects from the tables `desired` and `delivered`.
pub struct Difference<'a> {
    pub records: &'a Records,
    pub reading: Reading,
    /// Columns of `delivered`; `None` when nothing was ever delivered.
    pub delivered: Option<&'a Schema>,
    /// Not everything arrived lately: then every record of a subject whose records disagree is said
    /// again, since what destinations keep of a subject is shared by its records.
    pub doubtful: bool,
    /// For lists that forget their members: who was last said in a run before this one is said again.
    pub fading: Option<&'a Fading>,
}

/// Since when a member of a list that forgets must have been said, as ids of runs: one for each first
/// digit of a hash of the record, so that not everybody is said again in one run.
#[derive(Debug, Clone)]
pub struct Fading(Vec<String>);

impl Fading {
    /// Of a platform that forgets after `life`: members are said again when a quarter to half of it
    /// has passed.
    /// `id` is what a run that started then is called.
    pub fn new(life: Duration, now: DateTime<Utc>, id: impl Fn(DateTime<Utc>) -> String) -> Self {
        let since = |share: u32| now - life / 4 - life / 4 * share / (DIGITS - 1);
        Self((0..DIGITS).map(|share| id(since(share))).collect())
    }

    /// Whether the record of `delivered` is to be said again.
    fn sql(&self) -> String {
        let latest = self.0.iter().max().map(|run| literal(run)).unwrap_or_default();
        let cases = (0_u32..).zip(&self.0).fold(String::new(), |mut sql, (digit, run)| {
            let _ = write!(sql, " WHEN '{digit:x}' THEN {}", literal(run));
            sql
        });
        format!(
            "(p.present AND p.run < {latest} AND p.run < CASE substr(md5(p.record_key), 1, 1){cases} END)"
        )
    }
}

/// Hexadecimal digits.
const DIGITS: u32 = 16;

impl Difference<'_> {
    /// What differs. `None` when nothing was ever delivered: then everything differs, and
    /// [`labels`](Self::labels) reads `desired` itself.
    pub fn differing(&self) -> Option<String> {
        Some(self.changes(self.delivered?))
    }

    /// [`labels`](Self::labels) of desired records that are sorted on the way: where nothing was ever
    /// delivered and none of them can be invalid, nobody else reads them.
    pub fn at_once(&self) -> Option<String> {
        let once = self.delivered.is_none() && !self.records.can_be_invalid();
        once.then(|| format!("{}\nORDER BY record_key", self.first()))
    }

    /// What became of every record that differs. Selects from `differing`, which is what the query of
    /// that name returned, and again from the two files: a subject is known by all of its records.
    pub fn labels(&self) -> String {
        match self.delivered {
            None => self.first(),
            Some(_) => self.labelled(),
        }
    }

    /// Everybody enters: nothing to compare with, and `desired` is already sorted.
    fn first(&self) -> String {
        let mut sql = String::from("SELECT record_key, subject, email, trait");
        for name in self.identifiers() {
            let _ = write!(sql, ", {name}");
        }
        for column in self.records.columns() {
            let (value, before, send) = names(column);
            let _ = write!(sql, ", {value}, CASE WHEN FALSE THEN {value} END AS {before}, ");
            let _ = write!(sql, "{value} IS NOT NULL AS {send}");
        }
        for name in self.profile() {
            let _ = write!(sql, ", {name}");
        }
        let change = match self.reading {
            Reading::Normal | Reading::Replace => "'entered'",
            Reading::Baseline => "'adopted'",
        };
        let change = match self.says_something() {
            Some(says) => format!("CASE WHEN {says} THEN {change} END"),
            None => change.to_owned(),
        };
        let _ = write!(
            sql,
            ", CAST(NULL AS VARCHAR) AS standing, FALSE AS present, CAST(NULL AS VARCHAR) AS origin, \
             CAST(NULL AS BIGINT) AS fingerprint, CAST(NULL AS VARCHAR) AS reason, \
             CAST(NULL AS BIGINT) AS refusals, CAST(NULL AS BIGINT) AS refused_at, \
             CAST(NULL AS BIGINT) AS retry_at, CAST(NULL AS VARCHAR) AS run, {change} AS change\n\
             FROM desired\nWHERE invalid IS NULL"
        );
        sql
    }

    /// At least one trait has a value; audiences always say something.
    fn says_something(&self) -> Option<String> {
        (self.records.model.kind == ModelKind::Trait).then(|| {
            let values = self.records.columns().iter().map(|column| {
                let (value, ..) = names(column);
                format!("{value} IS NOT NULL")
            });
            values.collect::<Vec<_>>().join(" OR ")
        })
    }

    fn labelled(&self) -> String {
        let change = self.change();
        let columns = self.columns().join(", ");
        let joins = match self.records.grain {
            Grain::Raw => self.lookups(),
            Grain::List => self.holders(),
            Grain::Subject | Grain::Email => String::new(),
        };
        format!(
            "SELECT {columns}, {change} AS change\nFROM differing AS c{joins}\n\
             ORDER BY c.record_key ASC NULLS FIRST"
        )
    }

    /// What is known of the subject beside this record: whether it is wanted (`w`), known there (`k`),
    /// and, where that matters, both by one and the same record (`b`).
    fn lookups(&self) -> String {
        let (columns, qualified) = match self.records.per_trait {
            true => ("subject, trait", "d.subject, d.trait"),
            false => ("subject", "d.subject"),
        };
        let mut sql = String::new();
        let mut join = |alias: &str, source: &str| {
            let _ = write!(sql, "\nLEFT JOIN ({source}) AS {alias} ON {alias}.subject = c.subject");
            if self.records.per_trait {
                let _ = write!(sql, " AND {alias}.trait = c.trait");
            }
        };
        join("w", &format!("SELECT DISTINCT {columns} FROM desired WHERE invalid IS NULL"));
        let known = "FROM delivered WHERE present IS DISTINCT FROM FALSE";
        join("k", &format!("SELECT DISTINCT {columns} {known}"));
        if self.adopts_by_sibling() {
            join(
                "b",
                &format!(
                    "SELECT DISTINCT {qualified} FROM desired AS d JOIN delivered AS p \
                     ON d.record_key = p.record_key WHERE d.invalid IS NULL AND p.present"
                ),
            );
        }
        sql
    }

    /// By which a member who leaves is found, as far as another member still has it: they stay for the
    /// other one. Selects from `leaving` and `desired`; a few rows, since few leave.
    pub fn held(&self) -> Option<String> {
        if self.records.grain != Grain::List || self.delivered.is_none() {
            return None;
        }
        let parts = self.records.match_fields.iter().map(|field| {
            let (column, source) = (matched(field.source), literal(field.source));
            format!(
                "SELECT DISTINCT {source} AS source, d.{column} AS value FROM desired AS d LEFT SEMI JOIN \
                 (SELECT {column} AS value FROM leaving) AS l ON l.value = d.{column} \
                 WHERE d.invalid IS NULL"
            )
        });
        Some(parts.collect::<Vec<_>>().join("\nUNION ALL\n"))
    }

    /// One row for each field of a member who leaves that somebody else still has.
    fn holders(&self) -> String {
        self.records.match_fields.iter().fold(String::new(), |mut sql, field| {
            let (alias, column) = (holder(field.source), matched(field.source));
            let _ = write!(
                sql,
                "\nLEFT JOIN (SELECT value FROM held WHERE source = {}) AS {alias} \
                 ON {alias}.value = c.{column} AND NOT c.wanted",
                literal(field.source)
            );
            sql
        })
    }

    /// For each field of a member who leaves, whether somebody else still has the same.
    fn shared(&self) -> impl Iterator<Item = String> {
        let fields = self.records.match_fields.iter().map(|field| holder(field.source));
        let fields = fields.filter(|_| self.records.grain == Grain::List);
        fields.map(|alias| format!("{alias}.value IS NOT NULL AS {alias}"))
    }

    /// Nothing is left by which a member who leaves could be found without hitting somebody else.
    fn all_held(&self) -> String {
        let fields = self.records.match_fields.iter().map(|field| {
            let (alias, column) = (holder(field.source), matched(field.source));
            format!("(c.{column} IS NULL OR {alias}.value IS NOT NULL)")
        });
        fields.collect::<Vec<_>>().join(" AND ")
    }

    /// A new identifier need not be said when a record that stays brings the values anyway.
    fn adopts_by_sibling(&self) -> bool {
        self.records.model.kind == ModelKind::Trait && !self.records.resync_on_new_identifier
    }

    /// A record that is new although its subject is known.
    fn is_again() -> String {
        format!("{ABSENT} AND k.subject IS NOT NULL")
    }

    /// Output columns, before `change`.
    fn columns(&self) -> Vec<String> {
        let fixed = ["record_key", "subject", "email", "trait"].map(|name| format!("c.{name}"));
        let mut columns: Vec<String> = fixed.into_iter().collect();
        columns.extend(self.identifiers().iter().map(|name| format!("c.{name}")));
        columns.extend(self.shared());
        columns.extend(self.keeps_email().then(|| format!("c.{EMAIL_BEFORE}")));
        for column in self.records.columns() {
            let (value, before, send) = names(column);
            columns.extend([value, before].map(|name| format!("c.{name}")));
            columns.push(match self.records.grain == Grain::Raw && self.records.compares() {
                // All of it, NULLs too: the subject's other records may be known by older values.
                true => {
                    let own = self.own(column, "c.trait");
                    format!(
                        "({own}CASE WHEN {} THEN TRUE ELSE c.{send} END) AS {send}",
                        Self::is_again()
                    )
                }
                false => format!("c.{send}"),
            });
        }
        columns.extend(self.profile().iter().map(|name| format!("c.{name}")));
        columns.extend(STATE.map(|name| match name {
            "present" => "CASE WHEN c.known THEN c.present ELSE FALSE END AS present".to_owned(),
            name => format!("c.{name}"),
        }));
        columns
    }

    /// Records that are not the same on both sides, or whose fate is not settled.
    fn changes(&self, delivered: &Schema) -> String {
        let either = |name: &str| {
            format!("CASE WHEN d.record_key IS NULL THEN p.{name} ELSE d.{name} END AS {name}")
        };
        let mut sql = String::from(
            "SELECT coalesce(d.record_key, p.record_key) AS record_key, \
             coalesce(d.subject, p.subject) AS subject",
        );
        for name in ["email", "trait"].map(ToOwned::to_owned).iter().chain(&self.identifiers()) {
            let _ = write!(sql, ", {}", either(name));
        }
        if self.keeps_email() {
            let _ = write!(
                sql,
                ", CASE WHEN p.record_key IS NULL THEN d.email ELSE p.email END AS {EMAIL_BEFORE}"
            );
        }
        let mut differs = Vec::new();
        for column in self.records.columns() {
            let (value, before, send) = names(column);
            let previous = previous(column, delivered);
            // In parentheses: the parser takes all that follows `FROM` for the right-hand side.
            let distinct = format!("(d.{value} IS DISTINCT FROM {previous})");
            let now = match self.records.model.kind {
                ModelKind::Trait => format!("d.{value}"),
                ModelKind::Audience => {
                    format!("CASE WHEN d.record_key IS NULL THEN {previous} ELSE d.{value} END")
                }
            };
            let sent = self.sent(column, &distinct);
            let _ = write!(sql, ", {now} AS {value}, {previous} AS {before}, {sent} AS {send}");
            differs.push(distinct);
        }
        for name in self.profile() {
            let _ = write!(sql, ", d.{name}");
        }
        for name in STATE {
            let _ = write!(sql, ", p.{name}");
        }
        let (desired, doubtful) = self.wanted(delivered);
        let _ = write!(
            sql,
            ", d.record_key IS NOT NULL AS wanted, p.record_key IS NOT NULL AS known, {} AS moved, \
             {doubtful} AS doubtful, {} AS faded\n\
             FROM {desired} AS d FULL JOIN delivered AS p ON d.record_key = p.record_key\n\
             WHERE d.invalid IS NULL AND (d.record_key IS NULL OR p.record_key IS NULL OR p.standing <> 'delivered'",
            self.moved(),
            self.fading.map_or_else(|| "FALSE".to_owned(), Fading::sql),
        );
        sql + &self.reasons(&differs) + ")"
    }

    /// Why a record that both sides have is worth a look.
    fn reasons(&self, differs: &[String]) -> String {
        let values = differs.iter().filter(|_| self.records.compares()).cloned();
        let moved = (self.records.grain == Grain::Subject).then(|| self.moved().to_owned());
        let doubtful = self.doubts().then(|| "d.doubtful".to_owned());
        let everybody = (self.reading == Reading::Replace).then(|| "TRUE".to_owned());
        values
            .chain(everybody)
            .chain(moved)
            .chain(doubtful)
            .chain(self.fading.map(Fading::sql))
            .fold(String::new(), |sql, reason| sql + " OR " + &reason)
    }

    /// The desired records, and whether each belongs to a doubtful subject.
    fn wanted(&self, delivered: &Schema) -> (String, &'static str) {
        if !self.doubts() {
            return ("desired".to_owned(), "FALSE");
        }
        let same = match self.records.per_trait {
            true => "u.subject = e.subject AND u.trait = e.trait",
            false => "u.subject = e.subject",
        };
        let desired = format!(
            "(SELECT e.*, u.subject IS NOT NULL AS doubtful FROM desired AS e LEFT JOIN ({}) AS u ON {same})",
            self.doubtful_subjects(delivered)
        );
        (desired, "coalesce(d.doubtful, FALSE)")
    }

    /// Where the email is an attribute, what does not arrive must not take its place.
    fn keeps_email(&self) -> bool {
        self.records.grain == Grain::Subject
    }

    /// For subject-grained records: the preferred email is another one now.
    fn moved(&self) -> &'static str {
        match self.records.grain {
            Grain::Subject => "(d.email IS NOT NULL AND (d.email IS DISTINCT FROM p.email))",
            _ => "FALSE",
        }
    }

    /// Whether a column's value travels with the record.
    fn sent(&self, column: &ModelColumn, distinct: &str) -> String {
        let (value, ..) = names(column);
        if self.records.model.kind == ModelKind::Audience {
            return "TRUE".to_owned();
        }
        let own = self.own(column, "coalesce(d.trait, p.trait)");
        let doubtful = if self.doubts() { " WHEN d.doubtful THEN TRUE" } else { "" };
        let moved = match self.records.grain {
            Grain::Subject => {
                format!(" WHEN {} THEN d.{value} IS NOT NULL OR {distinct}", self.moved())
            }
            _ => String::new(),
        };
        format!(
            "({own}CASE WHEN p.record_key IS NOT NULL AND p.present IS NULL THEN TRUE{doubtful}{moved} ELSE {distinct} END)"
        )
    }

    /// Subjects of whose records one has an unknown fate, or that disagree because not all of them
    /// arrived: nobody knows what the destination holds.
    fn doubtful_subjects(&self, delivered: &Schema) -> String {
        let columns = if self.records.per_trait { "subject, trait" } else { "subject" };
        let stored = self.records.columns().iter().map(|column| format!("value.{}", column.name));
        let stored = stored.filter(|name| delivered.column_with_name(name).is_some());
        let disagree = stored.filter(|_| self.records.compares()).map(|name| {
            let name = quoted(&name);
            format!(
                " OR count(DISTINCT {name}) + max(CASE WHEN {name} IS NULL THEN 1 ELSE 0 END) > 1"
            )
        });
        format!(
            "SELECT {columns} FROM delivered WHERE present IS DISTINCT FROM FALSE GROUP BY {columns} \
             HAVING count(*) > count(present){}",
            disagree.collect::<String>()
        )
    }

    /// Restricts records of one trait to their own column.
    fn own(&self, column: &ModelColumn, name: &str) -> String {
        match self.records.per_trait {
            true => format!("{name} = {} AND ", literal(&column.name)),
            false => String::new(),
        }
    }

    /// Records of other grains have nothing in common with each other.
    fn doubts(&self) -> bool {
        self.doubtful && self.records.grain == Grain::Raw
    }

    /// What became of a record; NULL where nothing is to be said or done.
    fn change(&self) -> String {
        match self.reading {
            Reading::Normal => self.movement(),
            Reading::Baseline => "CASE WHEN c.wanted THEN 'adopted' ELSE 'retired' END".to_owned(),
            Reading::Replace => format!(
                "CASE WHEN {ABSENT} THEN 'entered' WHEN c.wanted THEN 'resynced' \
                 WHEN c.present = FALSE THEN 'retired' ELSE 'displaced' END"
            ),
        }
    }

    fn movement(&self) -> String {
        let raw = self.records.grain == Grain::Raw;
        let is_trait = self.records.model.kind == ModelKind::Trait;
        let any = |get: fn(&ModelColumn) -> String| {
            let all = self.records.columns().iter().map(get).collect::<Vec<_>>();
            if all.is_empty() { "FALSE".to_owned() } else { all.join(" OR ") }
        };
        let says = any(|column| format!("c.{}", names(column).2));
        let had = any(|column| format!("c.{} IS NOT NULL", names(column).1));
        let mut sql = String::from("CASE");
        let mut case = |when: &str, then: &str| {
            let _ = write!(sql, "\n  WHEN {when} THEN {then}");
        };
        if raw {
            let again = match (self.adopts_by_sibling(), self.records.resync_on_new_identifier) {
                (true, _) => "CASE WHEN b.subject IS NULL THEN 'resynced' ELSE 'adopted' END",
                (false, true) => "'resynced'",
                (false, false) => "'adopted'",
            };
            case(&Self::is_again(), again);
        }
        if is_trait {
            let value = any(|column| format!("c.{} IS NOT NULL", names(column).0));
            let nothing = format!("{ABSENT} AND NOT ({value})");
            case(&format!("{nothing} AND c.known"), "'retired'");
            case(&nothing, "NULL");
        }
        case(ABSENT, "'entered'");
        if is_trait {
            case(&format!("c.wanted AND c.present AND c.moved AND ({says})"), self.moved_change());
            case(&format!("c.wanted AND c.present AND NOT ({says})"), "'adopted'");
            case("c.wanted", "'changed'");
        } else {
            case("c.wanted AND c.present AND c.moved", self.moved_change());
            case("c.wanted AND c.faded", "'resynced'");
            case("c.wanted AND c.present AND NOT c.doubtful", "'adopted'");
            case("c.wanted", "'entered'");
        }
        case("c.present = FALSE", "'retired'");
        if raw {
            case("w.subject IS NOT NULL", "'retired'");
        }
        if self.records.grain == Grain::List {
            case(&self.all_held(), "'retired'");
        }
        if is_trait {
            if self.records.keep_missing {
                case("TRUE", "NULL");
            }
            case(&format!("c.present AND NOT ({had})"), "'retired'");
        }
        let _ = write!(sql, "\n  ELSE 'exited' END");
        sql
    }

    fn moved_change(&self) -> &'static str {
        if self.records.resync_on_new_identifier { "'resynced'" } else { "'adopted'" }
    }

    fn identifiers(&self) -> Vec<String> {
        self.records.identifiers().iter().map(|name| matched(name)).collect()
    }

    fn profile(&self) -> Vec<String> {
        self.records.profile.iter().map(|name| quoted(&format!("profile.{name}"))).collect()
    }
}

/// The column by which members are matched in one field.
fn matched(source: &str) -> String {
    match source {
        "email" => source.to_owned(),
        source => quoted(&format!("id.{source}")),
    }
}

/// What is joined to find out whether somebody else has the same in one field.
fn holder(source: &str) -> String {
    quoted(&format!("held.{source}"))
}

/// The quoted names of a column's new value, its acknowledged value, and whether it travels.
fn names(column: &ModelColumn) -> (String, String, String) {
    let name = |prefix: &str| quoted(&format!("{prefix}.{}", column.name));
    (name("value"), name("before"), name("send"))
}

/// The acknowledged value in the type of the new one; a column that is new has none.
fn previous(column: &ModelColumn, delivered: &Schema) -> String {
    let (value, ..) = names(column);
    let stored = delivered.field_with_name(&format!("value.{}", column.name));
    match stored.map(Field::data_type) {
        Ok(same) if *same == column.stored => format!("p.{value}"),
        Ok(other) if is_plain(other) && is_plain(&column.stored) => {
            format!("try_cast(p.{value} AS {})", sql_type(&column.stored))
        }
        _ => format!("CASE WHEN FALSE THEN d.{value} END"),
    }
}

fn is_plain(data_type: &DataType) -> bool {
    sql_type(data_type) != "?"
}

fn sql_type(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int64 => "BIGINT",
        DataType::UInt64 => "BIGINT UNSIGNED",
        DataType::Float64 => "DOUBLE",
        DataType::Utf8 | DataType::Utf8View => "VARCHAR",
        DataType::Date32 => "DATE",
        DataType::Timestamp(..) => "TIMESTAMP WITH TIME ZONE",
        _ => "?",
    }
}
