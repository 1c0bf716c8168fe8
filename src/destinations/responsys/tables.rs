//! Extension tables: which one a model is written to, and how it is found or created.
//!
//! What it promises: a table that is there is never created again, and a column that it lacks stops
//! the sync before anything is sent.

use super::super::responsys_api::{
    Api, Column, Extension, LONGEST_NAME, column_name, column_type, fits,
};
use super::super::{Fault, Target};
use crate::delivery::Session;

/// Columns that Responsys matches by.
const RESERVED: &[&str] = &[
    "RIID",
    "CUSTOMER_ID",
    "EMAIL_ADDRESS",
    "MOBILE_NUMBER",
    "EMAIL_MD5_HASH",
    "EMAIL_SHA256_HASH",
];

#[derive(Debug)]
pub(super) struct Tables {
    /// One for all models; `None`: one for each.
    pub name: Option<String>,
    pub folder: Option<String>,
    pub create: bool,
}

impl Tables {
    pub(super) fn name_for(&self, target: &Target) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => format!("MUSTER_{}", column_name(&target.model_key)),
        }
    }

    pub(super) async fn ensure(
        &self,
        api: &Api,
        session: &Session,
        table: &str,
        target: &Target,
    ) -> Result<(), Fault> {
        let extensions = match api.extensions(session).await {
            Ok(extensions) => extensions,
            // What follows does not depend on the answer.
            Err(Fault::Rehearsed) => return Ok(()),
            Err(fault) => return Err(fault),
        };
        if let Some(extension) = extensions.iter().find(|extension| extension.is(table)) {
            return verified(extension, table, target);
        }
        let fields = target.fields.iter().map(|field| Column {
            field_name: column_name(&field.name),
            field_type: column_type(field.kind).to_owned(),
        });
        let fields: Vec<_> = fields.collect();
        match &self.folder {
            Some(folder) if self.create => api.create(session, (folder, table), &fields).await,
            _ => Err(lacking_table(table, self.create, &fields)),
        }
    }
}

fn lacking_table(table: &str, create: bool, fields: &[Column]) -> Fault {
    let wanted = fields.iter().map(|field| format!("`{}` {}", field.field_name, field.field_type));
    let wanted = wanted.collect::<Vec<_>>().join(", ");
    let way_out = if create { "give `folder` to have it created" } else { "set `create_fields`" };
    Fault::Misconfigured {
        reason: format!(
            "the list has no extension table `{table}`: make it with the columns {wanted}, or \
             {way_out}"
        ),
    }
}

fn verified(extension: &Extension, table: &str, target: &Target) -> Result<(), Fault> {
    let mut missing = Vec::new();
    for field in &target.fields {
        let (name, wanted) = (column_name(&field.name), column_type(field.kind));
        match extension.column(&name) {
            None => missing.push(format!("`{name}` {wanted}")),
            Some(column) if fits(field.kind, &column.field_type) => {}
            Some(Column { field_type, .. }) => {
                return Err(Fault::Misconfigured {
                    reason: format!(
                        "the column `{name}` of the extension table `{table}` is of type \
                         {field_type}, not {wanted}: send the value under another alias"
                    ),
                });
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(", ");
    Err(Fault::Misconfigured {
        reason: format!(
            "the extension table `{table}` lacks the columns {missing}: add them in Responsys, since \
             its API cannot"
        ),
    })
}

pub(super) fn objections(target: &Target) -> Vec<String> {
    let objection = |name: &str| {
        let column = column_name(name);
        if RESERVED.contains(&column.as_str()) {
            return Some(format!("`{name}` is what Responsys matches by: give it another alias"));
        }
        (column.len() > LONGEST_NAME).then(|| {
            format!("`{name}` is longer than the {LONGEST_NAME} characters that Responsys takes")
        })
    };
    target.fields.iter().filter_map(|field| objection(&field.name)).collect()
}
