//! Marketo: fields of people by their email, and of companies by our account id.
//!
//! Marketo answers row by row, in the order of the request, inside a 200. Two requests for one email
//! at a time would make two people of it: the engine never has two of a record under way.
//!
//! What it never does: it touches no subscription, and it sends no activities, which Marketo takes
//! only for ids of its own and types that somebody made by hand.

mod fields;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use super::marketo_api::{Api, CLIENT_ID, CLIENT_SECRET, MUNCHKIN_ID, Row, results};
use super::portions::{Portion, Portions, Room, Verdict};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Maturity, OptionDoc, Quota, Reader, Remote, Secret, Spec, Target,
};
use crate::delivery::{Response, Session};
use crate::finding::Finding;
use crate::message::Message;
use crate::record::Call;
use fields::{Kept, Record, field_name};
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Marketo.
pub static SPEC: Spec = Spec {
    kind: "marketo",
    title: "Marketo",
    summary: "Keeps fields of Marketo's people and companies.",
    calls: &[Call::Identify, Call::Group],
    grain: Grain::Email,
    identifiers: "email of a person; account id as externalCompanyId of a company",
    profile: &["first_name", "last_name"],
    quotas: QUOTAS,
    daily: Some(DAILY),
    batch: BatchLimits { rows: 300, max_rows: 300, bytes: BYTES, row_bytes: BYTES },
    concurrency: 5,
    maturity: Maturity::Beta,
    example: r#"[destinations.marketo]
type = "marketo"
munchkin_id = "123-ABC-456"
client_id = "${MARKETO_CLIENT_ID}"
client_secret = "${MARKETO_CLIENT_SECRET}"
"#,
    notes: &[
        "Events are not sent: Marketo takes activities only for its own numeric ids, of types that are made by hand.",
        "Fields that are missing are created when a sync begins, unless `create_fields = false`; Marketo can hide a field again but never delete it, and creates at most 100 this way.",
        "Reading and creating fields of people takes the permission Read-Write Schema Custom Field.",
        "Fields of companies cannot be created through the API: make them in Admin > Field Management.",
        "Companies are read-only where Marketo mirrors those of Salesforce or Dynamics.",
        "People are matched by email alone; an email that several people share is refused by Marketo, and one that is not ASCII before it is sent.",
        "A `null` is meant to clear a field (uncertain).",
        "A text that is longer than its field is rejected before it is sent.",
        "100 calls in 20 seconds, ten at a time and 50,000 a day are shared by everything that uses the instance: lower `rate_limit` where others need their share.",
        "Once the quota of the day is used up, nothing is sent before it starts again at midnight, US Central Standard Time.",
        "`partition` counts as a key only where the instance's rules say so.",
    ],
    ..Spec::EVENT
};

/// The limit is 100 in 20 seconds, for everybody together.
pub(in crate::destinations) const QUOTAS: &[Quota] =
    &[Quota::per_second(5), Quota { limit: 98, per: std::time::Duration::from_secs(20) }];

/// Of a usual subscription.
pub(super) const DAILY: u64 = 50_000;

/// 1 MB, less what surrounds the records.
const BYTES: usize = 980_000;

const OPTIONS: &[OptionDoc] = &[
    MUNCHKIN_ID,
    CLIENT_ID,
    CLIENT_SECRET,
    OptionDoc::optional("partition", "lead partition in which people are looked for and created"),
    OptionDoc::optional(
        "create_fields",
        "whether fields that are missing are created; default true",
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    munchkin_id: Option<String>,
    client_id: Secret,
    client_secret: Secret,
    partition: Option<String>,
    #[serde(default = "crate::destinations::options::yes")]
    create_fields: bool,
}

/// One instance.
#[derive(Debug)]
struct Marketo {
    api: Api,
    partition: Option<String>,
    create_fields: bool,
    kept: Kept,
    room: Room,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { munchkin_id, client_id, client_secret, partition, create_fields } =
        reader.own()?;
    let secrets = vec![client_id.clone(), client_secret.clone()];
    let api = Api::of(reader, common, munchkin_id.as_deref(), (client_id, client_secret))?;
    let pieces = common.batch_size.unwrap_or(SPEC.batch.rows);
    let room = Room { pieces, bytes: BYTES, piece_bytes: BYTES };
    let marketo = Marketo { api, partition, create_fields, kept: Kept::default(), room };
    Ok(Built::new(Arc::new(marketo), secrets))
}

impl Marketo {
    /// Where records of this call go, and what stands beside them.
    fn envelope(&self, call: Call) -> Result<(&'static str, String), Fault> {
        if call == Call::Group {
            let more = r#","action":"createOrUpdate","dedupeBy":"dedupeFields""#;
            return Ok(("companies.json", more.to_owned()));
        }
        let more = r#","action":"createOrUpdate","lookupField":"email""#;
        let Some(partition) = &self.partition else { return Ok(("leads.json", more.to_owned())) };
        let partition = serde_json::to_string(partition)
            .map_err(|error| Fault::Misconfigured { reason: error.to_string() })?;
        Ok(("leads.json", format!("{more},\"partitionName\":{partition}")))
    }

    fn written(&self, message: &Message) -> Result<Vec<Vec<u8>>, String> {
        let record = Record::of(message)?;
        self.kept.verify(&record)?;
        Ok(vec![record.encoded()?])
    }
}

/// What became of every record, in the order of the request.
fn verdicts(response: &Response, portion: &Portion) -> Result<Vec<Verdict>, Fault> {
    let rows: Vec<Row> = results(response)?;
    if rows.len() != portion.len() {
        let reason = format!("{} results for {} records", rows.len(), portion.len());
        return Err(Fault::Protocol { reason });
    }
    if let Some(row) = rows.iter().find(|row| row.has_reason(1018)) {
        return Err(Fault::Misconfigured { reason: row.complaint() });
    }
    let mut verdicts = Vec::new();
    for (position, row) in rows.iter().enumerate() {
        match row.status.as_deref() {
            Some("created" | "updated") => {}
            status if status == Some("skipped") || row.has_reasons() => {
                verdicts.push(Verdict::rejected(position, row.complaint()));
            }
            _ => {
                let reason = format!("record {position} has no status that means anything");
                return Err(Fault::Protocol { reason });
            }
        }
    }
    Ok(verdicts)
}

#[async_trait]
impl Destination for Marketo {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        fields::of_people(&self.api, session).await.map(|_| ())
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        fields::ensure(&self.api, session, target, (&self.kept, self.create_fields)).await?;
        Ok(Remote::default())
    }

    /// Marketo creates no second field whose name differs in nothing but its case.
    fn field_name(&self, name: &str) -> String {
        field_name(name).to_lowercase()
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        fields::objections(target)
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let (path, more) = self.envelope(batch.messages()[0].call())?;
        let mut portions = Portions::of(batch, self.room, |message| self.written(message));
        while let Some(portion) = portions.next() {
            let request = self.api.post(&["rest", "v1", path], portion.body("input", &more));
            let answer = match session.send(request).await {
                Ok(response) => verdicts(&response, &portion),
                Err(fault) => Err(fault),
            };
            portions.settle(&portion, answer)?;
        }
        Ok(portions.into_receipt(batch).into())
    }
}
