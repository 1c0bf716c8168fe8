//! Records: what a model's rows become at the grain the destination itself tells apart (DESIGN §3).
//! Pure: turns one sync into the SQL that computes its desired records.

mod lists;

use std::fmt::Write as _;

use super::columns::{ModelColumn, literal, quoted, stored};
use super::lake::{INTERNAL, ModelPlan};
use crate::destinations::{Grain, MatchField};
use crate::project::{Emails, ModelKind};
use crate::record::{Call, Level};

/// What the engine needs to know of one sync.
#[derive(Debug, Clone)]
pub struct Records {
    /// `model.destination`.
    pub sync: String,
    pub model: ModelPlan,
    /// Name of the model's key column.
    pub key_column: String,
    /// Names of the user and account key columns, for the auxiliary tables.
    pub user_key: String,
    pub account_key: String,
    pub call: Call,
    pub grain: Grain,
    pub emails: Emails,
    pub resync_on_new_identifier: bool,
    /// `on_missing = "keep"`.
    pub keep_missing: bool,
    /// By which fields a list matches people.
    pub match_fields: Vec<MatchField>,
    /// In which country people are whose profile does not say.
    pub country: Option<String>,
    /// Profile columns that enrich the messages.
    pub profile: Vec<String>,
    /// Profile columns without which a record is invalid.
    pub required: Vec<String>,
    /// What profiles hold beside their key; empty where there are none.
    pub profile_columns: Vec<String>,
    pub has_identifiers: bool,
    pub has_suppressed: bool,
    /// For traits that travel as events: one record per trait.
    pub per_trait: bool,
}

/// Separates the parts of a record key; keys of models never hold it.
const SEPARATOR: &str = "chr(1)";

/// What comes before the separator.
const SUBJECT_OF_KEY: &str = "split_part(record_key, chr(1), 1) AS subject";

/// What comes after the first separator: an email may hold it.
const EMAIL_OF_KEY: &str =
    "nullif(substr(record_key, strpos(record_key, chr(1)) + 1), '') AS email";

/// The profile column that says in which country somebody is.
const COUNTRY: &str = "country";

impl Records {
    /// Columns whose values are stored: traits, event properties, list fields.
    pub fn columns(&self) -> &[ModelColumn] {
        match (self.model.kind, self.call) {
            (ModelKind::Audience, Call::Identify | Call::Group) => &[],
            _ => &self.model.columns,
        }
    }

    /// Whether stored values count as changes: those of traits do.
    pub fn compares(&self) -> bool {
        self.model.kind == ModelKind::Trait
    }

    /// Whether a desired record can lack what the destination needs.
    pub fn can_be_invalid(&self) -> bool {
        !self.required.is_empty()
    }

    /// Names of identifier columns beside the email.
    pub fn identifiers(&self) -> Vec<String> {
        self.match_fields
            .iter()
            .filter(|field| field.source != "email")
            .map(|field| field.source.to_owned())
            .collect()
    }

    /// Whether several records can belong to one subject.
    pub fn fans_out(&self) -> bool {
        self.grain == Grain::Raw && self.level() == Level::User
    }

    /// The level of the records: an account-level audience becomes the users of its accounts in a
    /// list.
    pub fn level(&self) -> Level {
        if self.call == Call::List { Level::User } else { self.model.level }
    }

    /// By which columns files of these records are sorted, each alone.
    pub fn orders(&self) -> Vec<&'static str> {
        match self.grain {
            Grain::Raw | Grain::Subject => vec!["record_key", "subject"],
            Grain::Email | Grain::List => vec!["record_key"],
        }
    }

    /// The desired records, sorted by record key. What a key says is read off it after it was sorted,
    /// so that it is not sorted beside it.
    pub fn desired_sql(&self) -> String {
        let body = match self.grain {
            Grain::Raw if self.per_trait => self.raw_per_trait(),
            Grain::Raw => self.raw(),
            Grain::Subject => self.subject(),
            Grain::Email => self.email(),
            Grain::List => self.list(),
        };
        format!(
            "SELECT {} FROM (\n{body}\nORDER BY record_key\n)\nORDER BY record_key",
            self.described()
        )
    }

    /// All columns of a desired record, out of those that are sorted.
    fn described(&self) -> String {
        let (subject, email) = match self.grain {
            Grain::Raw if self.per_trait => ("subject", "email"),
            Grain::Raw => (SUBJECT_OF_KEY, EMAIL_OF_KEY),
            Grain::Subject => ("record_key AS subject", "email"),
            Grain::Email => ("subject", "record_key AS email"),
            Grain::List => ("subject", self.list_email()),
        };
        let name = if self.per_trait { "trait" } else { "CAST(NULL AS VARCHAR) AS trait" };
        let invalid = match self.can_be_invalid() && self.grain != Grain::List {
            true => "invalid",
            false => "CAST(NULL AS VARCHAR) AS invalid",
        };
        let identifiers = self.identifiers().into_iter().map(|name| format!("id.{name}"));
        let values = self.columns().iter().map(|column| format!("value.{}", column.name));
        let profile = self.profile.iter().map(|name| format!("profile.{name}"));
        let others = identifiers
            .chain(values)
            .chain(profile)
            .fold(String::new(), |sql, name| sql + ", " + &quoted(&name));
        format!("record_key, {subject}, {email}, {name}{others}, {invalid}")
    }

    fn all_values(&self) -> String {
        let values = self.columns().iter().map(|column| quoted(&format!("value.{}", column.name)));
        values.fold(String::new(), |sql, value| sql + ", m." + &value)
    }

    /// `m`: one row per subject, values in their stored types.
    fn model(&self) -> String {
        let mut sql = String::new();
        let columns = self.columns().iter().fold(String::new(), |mut sql, column| {
            let value = stored(&quoted(&column.name), column);
            let _ = write!(sql, ", {value} AS {}", quoted(&format!("value.{}", column.name)));
            sql
        });
        let key = quoted(&self.key_column);
        let table = format!("{}.{}", self.model.kind.schema(), quoted(&self.model.key));
        let _ = write!(sql, "SELECT CAST({key} AS VARCHAR) AS subject{columns} FROM {table}");
        if self.call == Call::List && self.model.level == Level::Account {
            let (user, account) = (quoted(&self.user_key), quoted(&self.account_key));
            let values = self.columns().iter().fold(String::new(), |mut sql, column| {
                let name = quoted(&format!("value.{}", column.name));
                let _ = write!(sql, ", min(m.{name}) AS {name}");
                sql
            });
            return format!(
                "SELECT CAST(a.{user} AS VARCHAR) AS subject{values} FROM ({sql}) AS m \
                 JOIN {INTERNAL}.account_members AS a ON CAST(a.{account} AS VARCHAR) = m.subject \
                 WHERE a.{user} IS NOT NULL GROUP BY 1"
            );
        }
        sql
    }

    /// `FROM` the model, without suppressed users.
    fn from(&self) -> String {
        let mut sql = format!("FROM ({}) AS m", self.model());
        if self.level() == Level::User && self.has_suppressed {
            let key = quoted(&self.user_key);
            let _ = write!(
                sql,
                "\nLEFT ANTI JOIN (SELECT CAST({key} AS VARCHAR) AS subject FROM {INTERNAL}.suppressed) AS s \
                 ON s.subject = m.subject"
            );
        }
        sql
    }

    /// How many rows of the model are suppressed.
    pub fn suppressed_sql(&self) -> Option<String> {
        if self.level() != Level::User || !self.has_suppressed {
            return None;
        }
        let key = quoted(&self.user_key);
        Some(format!(
            "SELECT count(*) FROM ({}) AS m LEFT SEMI JOIN (SELECT CAST({key} AS VARCHAR) AS subject \
             FROM {INTERNAL}.suppressed) AS s ON s.subject = m.subject",
            self.model()
        ))
    }

    /// The emails that are used: all of a user's, the first added or the last added.
    fn emails(choice: Emails) -> String {
        let table = format!("{INTERNAL}.emails");
        let order = match choice {
            Emails::All => return format!("SELECT subject, email, added_at FROM {table}"),
            Emails::First => "added_at ASC NULLS LAST, email",
            Emails::Last => "added_at DESC NULLS LAST, email",
        };
        format!(
            "SELECT subject, email, added_at FROM (SELECT *, row_number() OVER (PARTITION BY subject \
             ORDER BY {order}) AS nth FROM {table}) WHERE nth = 1"
        )
    }

    fn join_emails(&self, join: &str, choice: Emails) -> String {
        if self.has_identifiers && self.level() == Level::User {
            return format!("\n{join} ({}) AS e ON e.subject = m.subject", Self::emails(choice));
        }
        "\nLEFT JOIN (SELECT CAST(NULL AS VARCHAR) AS subject, CAST(NULL AS VARCHAR) AS email, \
         CAST(NULL AS TIMESTAMP) AS added_at WHERE FALSE) AS e ON e.subject = m.subject"
            .to_owned()
    }

    fn in_profiles(&self, name: &str) -> bool {
        self.profile_columns.iter().any(|column| column == name)
    }

    fn join_profiles(&self) -> String {
        let required = self.required.iter().map(String::as_str);
        let matched = self.match_fields.iter().flat_map(|field| [field.source, COUNTRY]);
        let mut used = required.chain(matched).filter(|name| self.in_profiles(name));
        if self.profile.is_empty() && used.next().is_none() {
            return String::new();
        }
        let key = quoted(&self.user_key);
        format!("\nLEFT JOIN {INTERNAL}.profiles AS p ON CAST(p.{key} AS VARCHAR) = m.subject")
    }

    /// Profile columns, and why a record is invalid (NULL: it is not) where that can be.
    fn profile_columns(&self) -> String {
        let mut sql = self.enriching();
        let missing = self.required.iter().fold(String::new(), |mut sql, name| {
            let reason = literal(&format!("no `{name}` in profiles"));
            let _ = match self.in_profiles(name) {
                true => write!(sql, " WHEN p.{} IS NULL THEN {reason}", quoted(name)),
                false => write!(sql, " WHEN TRUE THEN {reason}"),
            };
            sql
        });
        if self.can_be_invalid() {
            let _ = write!(sql, ", CASE{missing} END AS invalid");
        }
        sql
    }

    /// One record per subject and email.
    fn raw(&self) -> String {
        format!(
            "SELECT {} AS record_key{}{}",
            Self::subject_and_email(),
            self.all_values(),
            self.joined()
        )
    }

    fn subject_and_email() -> String {
        format!("m.subject || {SEPARATOR} || coalesce(e.email, '')")
    }

    /// The rest of the columns, and where all of them come from.
    fn joined(&self) -> String {
        format!(
            "{}\n{}{}{}",
            self.profile_columns(),
            self.from(),
            self.join_emails("LEFT JOIN", self.emails),
            self.join_profiles(),
        )
    }

    /// One record per subject, email and trait.
    fn raw_per_trait(&self) -> String {
        let parts = self.columns().iter().map(|own| {
            let values = self.columns().iter().fold(String::new(), |mut sql, column| {
                let name = quoted(&format!("value.{}", column.name));
                let value = if column.name == own.name {
                    format!("m.{name}")
                } else {
                    format!("CASE WHEN FALSE THEN m.{name} END")
                };
                let _ = write!(sql, ", {value} AS {name}");
                sql
            });
            let name = literal(&own.name);
            format!(
                "SELECT {} || {SEPARATOR} || {name} AS record_key, m.subject, e.email, \
                 CAST({name} AS VARCHAR) AS trait{values}{}",
                Self::subject_and_email(),
                self.joined()
            )
        });
        format!("SELECT * FROM (\n{}\n)", parts.collect::<Vec<_>>().join("\nUNION ALL\n"))
    }

    /// One record per subject; the preferred email travels as an attribute.
    fn subject(&self) -> String {
        let preferred = if self.emails == Emails::First { Emails::First } else { Emails::Last };
        format!(
            "SELECT m.subject AS record_key, e.email{}{}\n{}{}{}",
            self.all_values(),
            self.profile_columns(),
            self.from(),
            self.join_emails("LEFT JOIN", preferred),
            self.join_profiles(),
        )
    }

    /// One record per normalised email: an audience is an OR over the subjects that share it, a trait
    /// takes the value of its most recently added owner.
    fn email(&self) -> String {
        let values = self.columns().iter().fold(String::new(), |mut sql, column| {
            let _ = write!(sql, ", {}", quoted(&format!("value.{}", column.name)));
            sql
        });
        let profile = self.profile.iter().fold(String::new(), |mut sql, name| {
            let _ = write!(sql, ", {}", quoted(&format!("profile.{name}")));
            sql
        });
        let invalid = if self.can_be_invalid() { ", invalid" } else { "" };
        format!(
            "SELECT record_key, subject{values}{profile}{invalid} \
             FROM (\nSELECT *, row_number() OVER (PARTITION BY record_key ORDER BY added_at DESC NULLS LAST, subject) \
             AS nth FROM (\n{}\n)) WHERE nth = 1",
            self.owners()
        )
    }

    /// Every (email, subject) pair.
    fn owners(&self) -> String {
        format!(
            "SELECT lower(e.email) AS record_key, m.subject, e.added_at{}{}\n{}{}{}",
            self.all_values(),
            self.profile_columns(),
            self.from(),
            self.join_emails("JOIN", self.emails),
            self.join_profiles(),
        )
    }

    /// How many emails have owners that disagree on a trait.
    pub fn conflicts_sql(&self) -> Option<String> {
        if self.grain != Grain::Email || !self.compares() {
            return None;
        }
        let differ = self.columns().iter().map(|column| {
            let name = quoted(&format!("value.{}", column.name));
            format!("count(DISTINCT {name}) + max(CASE WHEN {name} IS NULL THEN 1 ELSE 0 END) > 1")
        });
        Some(format!(
            "SELECT count(*) FROM (SELECT record_key FROM (\n{}\n) GROUP BY record_key HAVING {})",
            self.owners(),
            differ.collect::<Vec<_>>().join(" OR ")
        ))
    }

    /// Subjects that the destination could not tell apart, and why: for grains that need an email or
    /// something to match by.
    pub fn unreachable_sql(&self) -> Option<String> {
        match self.grain {
            Grain::Raw | Grain::Subject => None,
            Grain::Email => Some(self.without_email()),
            Grain::List => {
                let counts = self
                    .match_fields
                    .iter()
                    .map(|field| format!("count({})", quoted(&format!("id.{}", field.source))));
                Some(format!(
                    "SELECT subject, {} AS reason FROM (\n{}\n) GROUP BY subject HAVING {} = 0",
                    literal(&self.unmatched()),
                    self.matchable(),
                    counts.collect::<Vec<_>>().join(" + ")
                ))
            }
        }
    }

    fn unmatched(&self) -> String {
        let names: Vec<_> =
            self.match_fields.iter().map(|field| format!("`{}`", field.source)).collect();
        format!("no usable {}", names.join(" or "))
    }

    fn without_email(&self) -> String {
        let (from, reason) = (self.from(), literal("no email"));
        if !self.has_identifiers {
            return format!("SELECT m.subject, {reason} AS reason {from}");
        }
        format!(
            "SELECT m.subject, {reason} AS reason FROM (SELECT m.subject {from}) AS m \
             LEFT ANTI JOIN {INTERNAL}.emails AS e ON e.subject = m.subject"
        )
    }

    /// Every subject with each of its sets of match fields, normalised.
    fn matchable(&self) -> String {
        let country = self.country();
        let fields = self.match_fields.iter().fold(String::new(), |mut sql, field| {
            let name = quoted(&format!("id.{}", field.source));
            let value = self.match_value(field.source);
            let function = normaliser(&self.sync, field.source);
            let _ = write!(sql, ", {function}({value}, {country}) AS {name}");
            sql
        });
        format!(
            "SELECT m.subject{}{}{fields}{}",
            self.all_values(),
            self.enriching(),
            self.matched()
        )
    }

    /// How many values of each match field there are, and why some of them cannot be used: source,
    /// reason (NULL: it can) and count.
    pub fn unusable_sql(&self) -> Option<String> {
        if self.grain != Grain::List {
            return None;
        }
        let country = self.country();
        let parts = self.match_fields.iter().map(|field| {
            let value = self.match_value(field.source);
            let function = objector(&self.sync, field.source);
            let source = literal(field.source);
            format!(
                "SELECT {source} AS source, {function}(value, country) AS reason FROM \
                 (SELECT DISTINCT m.subject, {value} AS value, {country} AS country{}) WHERE value IS NOT NULL",
                self.matched()
            )
        });
        let parts = parts.collect::<Vec<_>>().join("\nUNION ALL\n");
        Some(format!(
            "SELECT source, reason, CAST(count(*) AS BIGINT) AS rows FROM (\n{parts}\n) GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2"
        ))
    }

    /// `FROM` the model with everything that members are matched by.
    fn matched(&self) -> String {
        format!(
            "\n{}{}{}{}",
            self.from(),
            self.join_emails("LEFT JOIN", self.emails),
            self.join_identifiers(),
            self.join_profiles(),
        )
    }

    /// In which country a member is.
    fn country(&self) -> String {
        // Blank is not known either.
        let known = self
            .in_profiles(COUNTRY)
            .then(|| format!("nullif(trim(CAST(p.{COUNTRY} AS VARCHAR)), '')"));
        let assumed = self.country.as_deref().map(literal);
        match known.into_iter().chain(assumed).collect::<Vec<_>>().as_slice() {
            [] => "CAST(NULL AS VARCHAR)".to_owned(),
            values => format!("coalesce({})", values.join(", ")),
        }
    }

    /// Profile columns that travel with members.
    fn enriching(&self) -> String {
        self.profile.iter().fold(String::new(), |mut sql, name| {
            let alias = quoted(&format!("profile.{name}"));
            let _ = write!(sql, ", p.{} AS {alias}", quoted(name));
            sql
        })
    }

    /// Where the value of a match field comes from: identifiers of that type, else profiles.
    fn match_value(&self, source: &str) -> String {
        if source == "email" {
            return "e.email".to_owned();
        }
        let identifier =
            self.has_identifiers.then(|| format!("{}.value", quoted(&format!("i.{source}"))));
        let profile = self.in_profiles(source).then(|| format!("p.{}", quoted(source)));
        let values: Vec<String> = identifier
            .into_iter()
            .chain(profile)
            .map(|value| format!("CAST({value} AS VARCHAR)"))
            .collect();
        match values.as_slice() {
            [] => "CAST(NULL AS VARCHAR)".to_owned(),
            values => format!("coalesce({})", values.join(", ")),
        }
    }

    fn join_identifiers(&self) -> String {
        let key = quoted(&self.user_key);
        let types = self.identifiers().into_iter().filter(|_| self.has_identifiers);
        types.fold(String::new(), |mut sql, source| {
            let alias = quoted(&format!("i.{source}"));
            let _ = write!(
                sql,
                "\nLEFT JOIN (SELECT CAST({key} AS VARCHAR) AS subject, CAST(value AS VARCHAR) AS value \
                 FROM {INTERNAL}.identifiers WHERE lower(CAST(type AS VARCHAR)) = {}) AS {alias} \
                 ON {alias}.subject = m.subject",
                literal(&source)
            );
            sql
        })
    }
}

/// Name of the SQL function that says why a value of a match field cannot be used.
pub fn objector(sync: &str, source: &str) -> String {
    quoted(&format!("objection {sync} {source}"))
}

/// Name of the SQL function that normalises one match field of a sync.
pub fn normaliser(sync: &str, source: &str) -> String {
    quoted(&format!("normalise {sync} {source}"))
}
