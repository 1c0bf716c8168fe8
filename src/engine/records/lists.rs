//! Records of lists: what a platform tells apart is a set of match fields, which several subjects may
//! share.

use std::fmt::Write as _;

use super::super::columns::quoted;
use super::{Records, SEPARATOR};

impl Records {
    /// One record per distinct set of match fields, as the platform normalises them, and all columns of
    /// one of its owners: of each column the least would make somebody of several people.
    pub(super) fn list(&self) -> String {
        let columns = self.columns().iter().map(|column| format!("value.{}", column.name));
        let enriching = self.profile.iter().map(|name| format!("profile.{name}"));
        let names: Vec<String> =
            columns.chain(enriching).map(|name| format!(", {}", quoted(&name))).collect();
        if names.is_empty() {
            return self.distinct();
        }
        format!(
            "SELECT record_key, subject{}{} \
             FROM (\nSELECT *, row_number() OVER (PARTITION BY record_key ORDER BY subject) AS nth FROM (\n\
             SELECT {} AS record_key, * FROM (\n{}\n) WHERE {}\n)) WHERE nth = 1",
            self.ids(|name| name),
            names.concat(),
            self.list_key(),
            self.matchable(),
            self.has_any(),
        )
    }

    /// The same where records have no columns.
    fn distinct(&self) -> String {
        format!(
            "SELECT {} AS record_key, min(subject) AS subject{} FROM (\n{}\n) WHERE {} GROUP BY 1",
            self.list_key(),
            self.ids(|name| format!("min({name})")),
            self.matchable(),
            self.has_any(),
        )
    }

    fn list_key(&self) -> String {
        let parts = self
            .match_fields
            .iter()
            .map(|field| format!("coalesce({}, '')", quoted(&format!("id.{}", field.source))));
        parts.collect::<Vec<_>>().join(&format!(" || {SEPARATOR} || "))
    }

    /// The match fields, as columns of records.
    fn ids(&self, of: fn(String) -> String) -> String {
        self.match_fields.iter().fold(String::new(), |mut sql, field| {
            let name = quoted(&format!("id.{}", field.source));
            let value = of(name.clone());
            let _ = match field.source {
                "email" => write!(sql, ", {value} AS email"),
                _ => write!(sql, ", {value} AS {name}"),
            };
            sql
        })
    }

    /// The column of emails, which is there although nobody is matched by them.
    pub(super) fn list_email(&self) -> &'static str {
        match self.match_fields.iter().any(|field| field.source == "email") {
            true => "email",
            false => "CAST(NULL AS VARCHAR) AS email",
        }
    }

    fn has_any(&self) -> String {
        let any = self
            .match_fields
            .iter()
            .map(|field| format!("{} IS NOT NULL", quoted(&format!("id.{}", field.source))));
        any.collect::<Vec<_>>().join(" OR ")
    }
}
