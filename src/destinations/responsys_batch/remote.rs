//! The column of a sync: in a table that is found, or created once with it.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::responsys_api::{self as responsys, Api, column_name};
use super::super::{Fault, Remote, Target};
use crate::delivery::Session;

/// Where an audience is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Column {
    pub table: String,
    pub column: String,
}

impl Column {
    pub(super) fn of(remote: &Remote) -> Result<Self, Fault> {
        Self::deserialize(&remote.0).map_err(|error| Fault::Protocol {
            reason: format!("what was kept of the remote list cannot be read: {error}"),
        })
    }
}

pub(super) async fn opened(
    api: &Api,
    session: &Session,
    target: &Target,
    folder: Option<&str>,
) -> Result<Remote, Fault> {
    let column = column_name(&target.model_key);
    let table = target.list.clone().unwrap_or_else(|| format!("MUSTER_LIST_{column}"));
    let extensions = api.extensions(session).await?;
    match (extensions.iter().find(|extension| extension.is(&table)), folder) {
        (Some(extension), _) if extension.column(&column).is_some() => {}
        (Some(_), _) => {
            let reason = format!(
                "the extension table `{table}` lacks the column `{column}`: add it in Responsys with \
                 the type STR500, since its API cannot"
            );
            return Err(Fault::Misconfigured { reason });
        }
        (None, Some(folder)) => {
            let field =
                responsys::Column { field_name: column.clone(), field_type: "STR500".to_owned() };
            api.create(session, (folder, &table), &[field]).await?;
        }
        (None, None) => {
            let reason = format!(
                "the list has no extension table `{table}`: make it with the column `{column}` of \
                 type STR500, or give `folder` to have it created"
            );
            return Err(Fault::Misconfigured { reason });
        }
    }
    Ok(Remote(json!(Column { table, column })))
}
