//! Keys of computed queries: whatever would make two records of one subject, or none, ends the run with
//! a count.

use super::columns;
use super::error::Result;
use super::lake::{INTERNAL, Lake, PROFILES, select_word};
use crate::finding::{Finding, Source};
use crate::project::Model;

impl Lake<'_> {
    /// Duplicate and NULL keys are never silent.
    pub(super) async fn refuse_bad_keys(&self, model: &Model) -> Result<()> {
        let Some(plan) = self.model(&model.key) else { return Ok(()) };
        let table = format!("{}.{}", model.kind.schema(), columns::quoted(&model.key));
        let what = format!("{} `{}`", model.kind.as_str(), model.key);
        let column = self.key_column(plan.level).to_owned();
        self.refuse_keys(&what, &table, &column, &model.query.source, plan.unique).await
    }

    /// A user with two profiles would become two records.
    pub async fn refuse_double_profiles(&self) -> Result<()> {
        let Some(query) = &self.project().profiles else { return Ok(()) };
        let table = format!("{INTERNAL}.{PROFILES}");
        let column = self.project().users.key.clone();
        self.refuse_keys("`profiles`", &table, &column, &query.source, false).await
    }

    async fn refuse_keys(
        &self,
        what: &str,
        table: &str,
        column: &str,
        source: &Source,
        unique: bool,
    ) -> Result<()> {
        let key = columns::quoted(column);
        let duplicates = match unique {
            true => "0".to_owned(),
            false => format!(
                "(SELECT count(*) FROM (SELECT {key} FROM {table} WHERE {key} IS NOT NULL \
                 GROUP BY {key} HAVING count(*) > 1))"
            ),
        };
        let sql = format!(
            "SELECT count(*) FILTER (WHERE {key} IS NULL) AS nulls, {duplicates} AS duplicates, \
             count(*) FILTER (WHERE CAST({key} AS VARCHAR) LIKE '%' || chr(1) || '%') AS odd FROM {table}"
        );
        let counts = self.session().counts(&format!("checking the keys of {what}"), &sql).await?;
        let facts = [
            ("Q11", "NULL", "leave rows without a key out"),
            ("Q12", "duplicate", "return each key once: aggregate, or use DISTINCT"),
            ("Q13", "unusable", "keys must not contain the control character U+0001"),
        ];
        for (count, (code, word, hint)) in counts.into_iter().zip(facts) {
            if count > 0 {
                let keys = if count == 1 { "key" } else { "keys" };
                let message = format!("{what} returns {count} {word} {keys} in `{column}`");
                let finding = Finding::error(code, message).at(source, select_word(source));
                return Err(finding.hint(hint).into());
            }
        }
        Ok(())
    }
}
