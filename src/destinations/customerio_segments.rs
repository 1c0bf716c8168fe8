//! Manual segments of Customer.io: people are put on and taken off by their id.
//!
//! Segments are found and created by the App API, filled by the Track API: two sets of credentials.
//! Customer.io says that it took a request and nothing of single people: whom it does not know it
//! ignores. Taking somebody off works by id only, which is why nobody is put on by anything else.

mod remote;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use super::attributes::written;
use super::customerio_api::{
    API_KEY, APP, APP_API_KEY, AppApi, ID_BYTES, REGION, Region, SITE_ID, Workspace, taken,
};
use super::membership::List;
use super::portions::{Portions, Room};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, Maturity, OptionDoc, Quota, Reader, Receipts, Remote, Secret, Spec, Target,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::message::Message;
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Customer.io's segments.
pub static SPEC: Spec = Spec {
    kind: "customerio_segments",
    title: "Customer.io Segments",
    summary: "Puts people on a manual segment of Customer.io and takes them off it.",
    grain: Grain::Subject,
    identifiers: "id (the user id)",
    receipts: Receipts::Opaque,
    quotas: &[Quota::per_second(30)],
    endpoints: &[APP],
    batch: BatchLimits { rows: 1000, max_rows: 1000, bytes: 4_000_000, row_bytes: 100_000 },
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.customerio_segments]
type = "customerio_segments"
site_id = "${CUSTOMERIO_SITE_ID}"
api_key = "${CUSTOMERIO_API_KEY}"
app_api_key = "${CUSTOMERIO_APP_API_KEY}"
region = "us"
"#,
    notes: &[
        "A segment is found by the id (a number) or name in the sync's `list`, else by the model's name, and created as a manual one where there is none; data-driven segments take no members.",
        "People must exist in the workspace under the user id: send them by a `customerio` destination first.",
        "Customer.io ignores ids that it does not know and says nothing of them; that it never creates somebody for one is uncertain.",
        "A workspace that tells people apart by email alone cannot take them off a segment over its API: send the audience as an attribute by `customerio` instead.",
        "Putting somebody on a segment can start campaigns, for everybody at once on the first run.",
        "The App API, which finds and creates segments, takes 10 requests per second.",
        "An account in the EU should say `region = \"eu\"`; `--test` compares.",
        "A segment's name is only looked for when a sync first opens it: one that is renamed afterwards is still used, one that is deleted stops the sync.",
    ],
    ..Spec::LIST
};

const OPTIONS: &[OptionDoc] = &[SITE_ID, API_KEY, APP_API_KEY, REGION];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    site_id: Secret,
    api_key: Secret,
    app_api_key: Secret,
    #[serde(default)]
    region: Region,
}

/// The segments of one workspace.
#[derive(Debug)]
struct Segments {
    workspace: Workspace,
    app: AppApi,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { site_id, api_key, app_api_key, region } = reader.own()?;
    let secrets = vec![site_id.clone(), api_key.clone(), app_api_key.clone()];
    let workspace = Workspace::of(reader, common, region, (site_id, api_key))?;
    let app = AppApi::of(reader, common, region, app_api_key)?;
    Ok(Built::new(Arc::new(Segments { workspace, app }), secrets))
}

#[async_trait]
impl Destination for Segments {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        self.workspace.verify(session).await?;
        remote::listed(&self.app, session).await.map(|_| ())
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        match &target.remote {
            Some(remote) => Ok(remote.clone()),
            None => remote::opened(&self.app, session, target).await.map(List::into_remote),
        }
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let List { id } = List::of(remote)?;
        let mut portions = Portions::none(batch);
        for (step, enters) in [("remove_customers", false), ("add_customers", true)] {
            portions.then(step, batch, ROOM, |_, message| {
                (message.is_member() == enters).then(|| person(message))
            });
        }
        while let Some(portion) = portions.next() {
            let path = format!("/api/v1/segments/{id}/{}", portion.step());
            let mut request = self.workspace.post(&path, portion.body("ids", "")).reading(taken);
            request.url.query_pairs_mut().append_pair("id_type", "id");
            let answer = session.send(request).await.map(|_| Vec::new());
            portions.settle(&portion, answer)?;
        }
        Ok(portions.into_receipt(batch).into())
    }
}

/// What one request takes: ids are counted, and short.
const ROOM: Room = Room { pieces: 1000, bytes: 490_000, piece_bytes: 32_000 };

/// The id of somebody, as a text even where it is a number.
fn person(message: &Message) -> Result<Vec<Vec<u8>>, String> {
    let id = message.subject();
    if id.len() > ID_BYTES {
        let size = id.len();
        return Err(format!("its id has {size} bytes; Customer.io takes at most {ID_BYTES}"));
    }
    Ok(vec![written(&id)?])
}
