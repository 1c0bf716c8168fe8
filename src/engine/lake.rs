//! The project's queries against the project's tables: parsed, planned in order of their
//! dependencies, checked against schemas without reading a row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::common::TableReference;
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SQLOptions;

use super::columns::{self, ModelColumn};
use super::error::{EngineError, Result};
use super::fingerprint::is_steady;
use super::session::{Limits, Session};
use super::shapes;
use super::sql::{self, Parsed, Reference};
use super::tables::Tables;
use crate::finding::{Finding, Source};
use crate::plan;
use crate::project::{Model, ModelKind, Project, Query};
use crate::record::Level;

/// Everything SQL of one project, in one session.
#[derive(Debug)]
pub struct Lake<'a> {
    project: &'a Project,
    session: Session,
    tables: Tables,
    parsed: BTreeMap<String, Parsed>,
    models: BTreeMap<String, ModelPlan>,
    order: Vec<String>,
    /// Columns of `profiles` beside its key.
    profile_columns: Vec<String>,
    /// Queries that say the same whenever they run, by the names of `parsed`.
    steady: BTreeSet<String>,
    /// How queries could be computed faster.
    advice: Vec<Finding>,
}

/// One query that a model's records depend on.
pub struct Dependency<'a> {
    pub name: String,
    pub source: &'a Source,
    /// Tables of the lake it selects from.
    pub tables: BTreeSet<String>,
}

/// What is known of a model before it is computed.
#[derive(Debug, Clone)]
pub struct ModelPlan {
    pub key: String,
    pub kind: ModelKind,
    pub level: Level,
    /// Every column but the key, in the query's order.
    pub columns: Vec<ModelColumn>,
    /// The query itself guarantees that no key comes twice.
    pub unique: bool,
}

/// The auxiliary queries by the names under which Muster's own SQL selects from them.
pub const IDENTIFIERS: &str = "identifiers";
pub const PROFILES: &str = "profiles";
pub const SUPPRESSED: &str = "suppressed";
pub const MEMBERS: &str = "account_members";

/// Schema of Muster's own tables.
pub const INTERNAL: &str = "muster";

impl<'a> Lake<'a> {
    pub fn new(project: &'a Project, limits: Limits) -> Result<Self> {
        let session = Session::new(limits)?;
        let catalog = session.context().catalog("project");
        for schema in ["traits", "audiences", INTERNAL] {
            let provider: Arc<dyn SchemaProvider> = Arc::new(MemorySchemaProvider::new());
            if let Some(catalog) = &catalog {
                catalog
                    .register_schema(schema, provider)
                    .map_err(|source| EngineError::of("the session", source))?;
            }
        }
        Ok(Self {
            project,
            session,
            tables: Tables::of(project),
            parsed: BTreeMap::new(),
            models: BTreeMap::new(),
            order: Vec::new(),
            profile_columns: Vec::new(),
            steady: BTreeSet::new(),
            advice: Vec::new(),
        })
    }

    pub fn session(&self) -> &Session {
        &self.session
    }

    pub fn project(&self) -> &Project {
        self.project
    }

    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    pub fn model(&self, key: &str) -> Option<&ModelPlan> {
        self.models.get(key)
    }

    /// Columns of `profiles` beside its key.
    pub fn profile_columns(&self) -> &[String] {
        &self.profile_columns
    }

    /// How analysed queries could be computed faster; nothing is wrong with them.
    pub fn advice(&self) -> &[Finding] {
        &self.advice
    }

    /// Keys of models in an order in which each comes after what it selects from.
    pub fn order(&self) -> &[String] {
        &self.order
    }

    /// Models that `keys` need, themselves included, in computing order.
    pub fn closure(&self, keys: &BTreeSet<String>) -> Vec<String> {
        let mut wanted = keys.clone();
        for key in self.order.iter().rev() {
            if wanted.contains(key) {
                wanted.extend(self.dependencies(key));
            }
        }
        self.order.iter().filter(|key| wanted.contains(*key)).cloned().collect()
    }

    /// The same for syncs of `keys`: with the models that the auxiliary queries select from.
    pub fn needed(&self, keys: &BTreeSet<String>) -> Vec<String> {
        let auxiliary = self.auxiliary().into_iter();
        let auxiliary =
            auxiliary.flat_map(|(name, ..)| self.dependencies(&format!("{INTERNAL}.{name}")));
        self.closure(&keys.iter().cloned().chain(auxiliary).collect())
    }

    /// The model's query, those of the models that it and the auxiliary queries select from, and these.
    /// `None` when one of them reads the clock or chance, or is not understood.
    pub fn queries_of(&self, model: &str) -> Option<Vec<Dependency<'a>>> {
        let models = self.needed(&BTreeSet::from([model.to_owned()])).into_iter();
        let project = self.project;
        let models = models.map(|key| {
            let query = project.model(&key).map(|model| &model.query);
            (key, query)
        });
        let auxiliary = self.auxiliary().into_iter();
        let auxiliary =
            auxiliary.map(|(name, query, _)| (format!("{INTERNAL}.{name}"), Some(query)));
        let all = models.chain(auxiliary).map(|(name, query)| {
            let parsed = self.parsed.get(&name).filter(|_| self.steady.contains(&name))?;
            let tables = parsed.references.iter().filter(|table| table.schema.is_none());
            let tables = tables.map(|table| table.table.clone()).collect();
            Some(Dependency { name, source: &query?.source, tables })
        });
        all.collect()
    }

    /// Models that a query selects from, by its name in `parsed`.
    fn dependencies(&self, key: &str) -> Vec<String> {
        let references = self.parsed.get(key).map(|parsed| &parsed.references);
        references.into_iter().flatten().filter_map(|r| self.model_of(r)).collect()
    }

    /// The model a reference means, if it means one.
    fn model_of(&self, reference: &Reference) -> Option<String> {
        let schema = reference.schema.as_deref()?;
        let model = self.project.model(&reference.table)?;
        (model.kind.schema() == schema).then(|| model.key.clone())
    }

    /// Parses and plans every model and auxiliary query. What it returns is every problem found.
    pub async fn analyse(&mut self) -> Vec<Finding> {
        let mut findings = std::mem::take(&mut self.tables.findings);
        for model in &self.project.models {
            match sql::parse(&model.query.source) {
                Ok(parsed) => drop(self.parsed.insert(model.key.clone(), parsed)),
                Err(finding) => findings.push(finding),
            }
        }
        let edges = self
            .parsed
            .keys()
            .map(|key| (key.clone(), self.dependencies(key).into_iter().collect()))
            .collect();
        match plan::order(&edges) {
            Ok(order) => self.order = order,
            Err(cycle) => {
                findings.push(self.cycle(&cycle.keys));
                self.order = cycle.rest;
            }
        }
        for key in self.order.clone() {
            findings.extend(self.analyse_model(&key).await);
        }
        for (name, query, keys) in self.auxiliary() {
            findings.extend(self.analyse_auxiliary(name, query, &keys).await);
        }
        findings
    }

    fn cycle(&self, keys: &[String]) -> Finding {
        let path = keys.iter().chain(keys.first()).map(|key| format!("`{key}`"));
        let message = format!("models select from each other in a circle: {}", join(path, " → "));
        let finding = Finding::error("Q10", message)
            .hint("take one of them out of the circle by selecting from the tables instead");
        let source = keys.first().and_then(|key| self.project.model(key)).map(|m| &m.query.source);
        match (source, keys.get(1).or(keys.first())) {
            (Some(source), Some(next)) => finding.at(source, sql::find_word(source, next)),
            _ => finding,
        }
    }

    async fn analyse_model(&mut self, key: &str) -> Vec<Finding> {
        let project = self.project;
        let (Some(model), Some(parsed)) = (project.model(key), self.parsed.get(key).cloned())
        else {
            return Vec::new();
        };
        let source = &model.query.source;
        let plan = match self.plan_query(source, &parsed).await {
            Ok(plan) => plan,
            Err(findings) => return findings,
        };
        if is_steady(&plan) {
            self.steady.insert(key.to_owned());
        }
        let what = format!("{} `{key}`", model.kind.as_str());
        self.advice.extend(shapes::advice(&what, source, &plan));
        match self.describe(model, &plan) {
            Ok(described) => {
                let schema = Arc::new(plan.schema().as_arrow().clone());
                if let Err(error) = self.stand_in(model.kind.schema(), key, schema) {
                    return vec![error.finding()];
                }
                self.models.insert(key.to_owned(), described);
                Vec::new()
            }
            Err(findings) => findings,
        }
    }

    /// Registers the columns of a model that is not computed yet.
    fn stand_in(&self, schema: &str, key: &str, columns: SchemaRef) -> Result<()> {
        self.session
            .register(TableReference::partial(schema, key), Arc::new(EmptyTable::new(columns)))
            .map_err(|source| EngineError::of(format!("`{schema}.{key}`"), source))
    }

    /// Opens the tables a query names and plans it; every unknown table is a finding.
    async fn plan_query(
        &self,
        source: &Source,
        parsed: &Parsed,
    ) -> std::result::Result<LogicalPlan, Vec<Finding>> {
        let mut findings = Vec::new();
        for reference in &parsed.references {
            match self.open(reference).await {
                Ok(true) => {}
                Ok(false) if self.is_broken_model(reference) => return Err(Vec::new()),
                Ok(false) => {
                    let known = self.known_tables();
                    let known = known.iter().map(String::as_str);
                    findings.push(sql::unknown_table(source, reference, known));
                }
                Err(error) => findings.push(error.finding()),
            }
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        let state = self.session.state();
        let plan = sql::plan(&state, parsed).await;
        let plan = plan.map_err(|error| vec![sql::failure(source, &error)])?;
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&plan)
            .map_err(|error| vec![sql::failure(source, &error)])?;
        Ok(plan)
    }

    /// A model that exists but has findings of its own: what selects from it stays silent.
    fn is_broken_model(&self, reference: &Reference) -> bool {
        self.model_of(reference).is_some_and(|key| !self.models.contains_key(&key))
    }

    /// Makes sure that a table a query names is registered; `false` when there is no such table.
    pub async fn open(&self, reference: &Reference) -> Result<bool> {
        let name = match &reference.schema {
            Some(schema) => TableReference::partial(schema.clone(), reference.table.clone()),
            None => TableReference::bare(reference.table.clone()),
        };
        let exists = self.session.context().table_exist(name.clone());
        if exists.map_err(|source| EngineError::of(reference.to_string(), source))? {
            return Ok(true);
        }
        if reference.schema.is_some() {
            return Ok(false);
        }
        let Some(table) = self.tables.open(&self.session, &reference.table).await? else {
            return Ok(false);
        };
        self.session
            .register(name, table)
            .map_err(|source| EngineError::of(format!("table `{reference}`"), source))?;
        Ok(true)
    }

    fn known_tables(&self) -> Vec<String> {
        let models = self.project.models.iter();
        let models = models.map(|model| format!("{}.{}", model.kind.schema(), model.key));
        self.tables.names().map(ToOwned::to_owned).chain(models).collect()
    }

    fn describe(
        &self,
        model: &Model,
        plan: &LogicalPlan,
    ) -> std::result::Result<ModelPlan, Vec<Finding>> {
        let source = &model.query.source;
        let schema = plan.schema().as_arrow();
        let level = self.level(model, schema)?;
        let key = self.key_column(level);
        let mut findings = columns::duplicates(source, schema);
        let mut columns = Vec::new();
        for field in schema.fields().iter().filter(|field| field.name() != key) {
            match columns::describe(source, field) {
                Ok(column) => columns.push(column),
                Err(finding) => findings.push(finding),
            }
        }
        if model.kind == ModelKind::Trait && columns.is_empty() && findings.is_empty() {
            let message = format!("trait `{}` has no column beside its key", model.key);
            findings.push(
                Finding::error("Q07", message)
                    .at(source, select_word(source))
                    .hint(format!("select the trait's value beside `{key}`")),
            );
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        let unique = columns::is_unique(plan.schema(), key);
        Ok(ModelPlan { key: model.key.clone(), kind: model.kind, level, columns, unique })
    }

    fn level(&self, model: &Model, schema: &Schema) -> std::result::Result<Level, Vec<Finding>> {
        let (user, account) = (&self.project.users.key, &self.project.accounts.key);
        if schema.column_with_name(user).is_some() {
            return Ok(Level::User);
        }
        if schema.column_with_name(account).is_some() {
            return Ok(Level::Account);
        }
        let source = &model.query.source;
        let names = schema.fields().iter().map(|field| format!("`{}`", field.name()));
        let message =
            format!("{} `{}` does not produce its key column", model.kind.as_str(), model.key);
        Err(vec![
            Finding::error("Q03", message)
                .at(source, select_word(source))
                .label(format!("expected a column named `{user}` or `{account}`"))
                .note(format!("columns: {}", join(names, ", ")))
                .hint(format!("alias the column that identifies the user `AS {user}`")),
        ])
    }

    pub fn key_column(&self, level: Level) -> &str {
        match level {
            Level::User => &self.project.users.key,
            Level::Account => &self.project.accounts.key,
        }
    }

    /// A model's query, as it was parsed.
    pub(super) fn model_query(&self, key: &str) -> Option<(&'a Model, &Parsed)> {
        Some((self.project.model(key)?, self.parsed.get(key)?))
    }

    /// An auxiliary query, if the project has it.
    pub(super) fn auxiliary_query(&self, name: &str) -> Option<(&'a Query, &Parsed)> {
        let (_, query, _) = self.auxiliary().into_iter().find(|(other, ..)| *other == name)?;
        Some((query, self.parsed.get(&format!("{INTERNAL}.{name}"))?))
    }

    /// Whether an auxiliary query selects from a model.
    pub(super) fn needs_models(&self, name: &str) -> bool {
        !self.dependencies(&format!("{INTERNAL}.{name}")).is_empty()
    }

    /// The auxiliary queries there are, with the columns each must have.
    fn auxiliary(&self) -> Vec<(&'static str, &'a Query, Vec<String>)> {
        let project = self.project;
        let user = || project.users.key.clone();
        let all = [
            (IDENTIFIERS, &project.identifiers, vec![user(), "type".into(), "value".into()]),
            (PROFILES, &project.profiles, vec![user()]),
            (SUPPRESSED, &project.suppress, vec![user()]),
            (MEMBERS, &project.members, vec![project.accounts.key.clone(), user()]),
        ];
        all.into_iter()
            .filter_map(|(name, query, keys)| Some((name, query.as_ref()?, keys)))
            .collect()
    }

    async fn analyse_auxiliary(
        &mut self,
        name: &'static str,
        query: &Query,
        keys: &[String],
    ) -> Vec<Finding> {
        let parsed = match sql::parse(&query.source) {
            Ok(parsed) => parsed,
            Err(finding) => return vec![finding],
        };
        let plan = match self.plan_query(&query.source, &parsed).await {
            Ok(plan) => plan,
            Err(findings) => return findings,
        };
        self.parsed.insert(format!("{INTERNAL}.{name}"), parsed);
        if is_steady(&plan) {
            self.steady.insert(format!("{INTERNAL}.{name}"));
        }
        self.advice.extend(shapes::advice(&format!("`{name}`"), &query.source, &plan));
        let schema = plan.schema().as_arrow();
        if name == PROFILES {
            let columns = schema.fields().iter().map(|field| field.name().clone());
            self.profile_columns = columns.filter(|column| !keys.contains(column)).collect();
        }
        let missing = keys.iter().filter(|key| schema.column_with_name(key).is_none());
        missing
            .map(|key| {
                let names = schema.fields().iter().map(|field| format!("`{}`", field.name()));
                Finding::error("Q03", format!("`{name}` has no column `{key}`"))
                    .at(&query.source, select_word(&query.source))
                    .note(format!("columns: {}", join(names, ", ")))
                    .hint(format!("alias a column `AS {key}`"))
            })
            .collect()
    }
}

/// The first `SELECT` of a query, for findings about the query as a whole.
pub(super) fn select_word(source: &Source) -> Option<std::ops::Range<usize>> {
    sql::find_word(source, "SELECT").or_else(|| sql::find_word(source, "select"))
}

fn join(words: impl Iterator<Item = String>, with: &str) -> String {
    words.collect::<Vec<_>>().join(with)
}
