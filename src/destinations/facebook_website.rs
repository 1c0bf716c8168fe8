//! Meta's website custom audiences, by Conversions API events: whoever enters or leaves an audience is
//! told as an event, and a rule on that event makes the audience there.
//!
//! An event says what happens now. Members of long ago cannot be told, so that the first run is always
//! a baseline, and nobody can be taken out but by a rule that heeds the event of leaving.

mod event;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;

use super::facebook_api::{API_VERSION, APP_SECRET, Credentials, Graph};
use super::membership::{self, COUNTRY, List};
use super::portions::{Portion, Portions, Room, Verdict};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, Maturity, OptionDoc, Quota, Reader, Receipts, Remote, Secret, Spec,
};
use crate::delivery::{Response, Session};
use crate::finding::Finding;
use crate::record::Call;
use event::{Event, Origin, Processing};
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of the Conversions API.
pub static SPEC: Spec = Spec {
    kind: "facebook_website",
    title: "Facebook Website Custom Audiences",
    summary: "Tells Meta's Conversions API who enters or leaves an audience, for rules of website audiences.",
    calls: &[Call::Track],
    grain: Grain::Email,
    identifiers: "email, and what the profile says, as SHA-256",
    receipts: Receipts::Opaque,
    profile: event::PROFILE,
    quotas: &[Quota { limit: 5_000, per: Duration::from_hours(1) }],
    batch: BatchLimits { rows: ROWS, max_rows: ROWS, bytes: 20_000_000, row_bytes: BYTES },
    concurrency: 4,
    idempotency: Idempotency::MessageId,
    history: false,
    maturity: Maturity::Alpha,
    example: r#"[destinations.facebook_website]
type = "facebook_website"
access_token = "${FACEBOOK_ACCESS_TOKEN}"
pixel_id = "1234567890"
data_processing_options = []
"#,
    notes: &[
        "It takes no history: the first run of a sync records who is a member and sends nothing.",
        "Make the audience in Meta by a rule on the event `Audience Entered` with `audience_key`, which excludes those with `Audience Exited`; it is not made from here.",
        "An event tells one person by email, phone, name, place, gender and date of birth, as far as the profile holds them, all hashed.",
        "`data_processing_options` says how Meta may process the events and has no default: `[]` for all uses, `[\"LDU\"]` for Limited Data Use.",
        "`action_source` is a declaration to Meta; with `website` it also wants an address and the profile column `user_agent`, and whether events of other sources fill website audiences is uncertain.",
        "Meta says how many events it received, not whom it recognised; one event that it does not accept makes it refuse the whole request, which is then halved.",
        "Events of the last 7 days are accepted; an event that is repeated has the same `event_id`, by which Meta de-duplicates within 48 hours.",
        "The limit of calls (5,000 an hour) and the size of a request are uncertain.",
        "Properties of the model travel as they are in `custom_data`: select nothing there that names a person.",
        "A person with several emails is told once per email.",
    ],
    ..Spec::EVENT
};

const ROWS: usize = 1_000;
const BYTES: usize = 100_000;

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("access_token", "token that may send events to the pixel"),
    OptionDoc::required("pixel_id", "number of the pixel (dataset) that takes the events"),
    OptionDoc::required(
        "data_processing_options",
        "how Meta may process the events: [] or [\"LDU\"]",
    ),
    OptionDoc::optional(
        "data_processing_country",
        "country that Limited Data Use is claimed for, as Meta's number; default 0 (Meta finds out)",
    ),
    OptionDoc::optional(
        "data_processing_state",
        "state that Limited Data Use is claimed for, as Meta's number; default 0 (Meta finds out)",
    ),
    OptionDoc::optional(
        "action_source",
        "where events happen: \"system_generated\" (default), \"website\", \"app\", \"email\", \"phone_call\", \"chat\", \"physical_store\" or \"other\"",
    ),
    OptionDoc::optional(
        "event_source_url",
        "address that events of a website are told to come from",
    ),
    OptionDoc::optional("test_event_code", "shows events among Meta's test events"),
    COUNTRY,
    APP_SECRET,
    API_VERSION,
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    access_token: Secret,
    pixel_id: String,
    data_processing_options: Vec<Processing>,
    data_processing_country: Option<u32>,
    data_processing_state: Option<u32>,
    #[serde(default)]
    action_source: Origin,
    event_source_url: Option<url::Url>,
    test_event_code: Option<String>,
    country: Option<String>,
    app_secret: Option<Secret>,
    api_version: Option<String>,
}

/// One pixel.
#[derive(Debug)]
struct Pixel {
    graph: Graph,
    id: String,
    event: Event,
    test_event_code: Option<String>,
    room: Room,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    if options.pixel_id.is_empty() || !options.pixel_id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(vec![reader.refuse("pixel_id", "is not the number of a pixel")]);
    }
    let is_website = options.action_source == Origin::Website;
    if is_website && options.event_source_url.is_none() {
        let fact = "is missing, and Meta wants it for events of a website";
        return Err(vec![reader.refuse("event_source_url", fact)]);
    }
    let limits = options.data_processing_country.or(options.data_processing_state);
    if options.data_processing_options.is_empty() && limits.is_some() {
        let fact = "must name `LDU` where a country or state is given";
        return Err(vec![reader.refuse("data_processing_options", fact)]);
    }
    let country = membership::country(reader, options.country)?;
    let credentials = Credentials {
        access_token: options.access_token,
        app_secret: options.app_secret.clone(),
        api_version: options.api_version,
    };
    let graph = Graph::of(reader, common, credentials)?;
    let secrets = graph.secrets().into_iter().chain(options.app_secret).collect();
    let event = Event {
        processing: options.data_processing_options,
        place: (
            options.data_processing_country.unwrap_or(0),
            options.data_processing_state.unwrap_or(0),
        ),
        origin: options.action_source,
        address: options.event_source_url,
        country,
    };
    let pieces = common.batch_size.unwrap_or(ROWS);
    let room = Room { pieces, bytes: 20_000_000, piece_bytes: BYTES };
    let (id, test_event_code) = (options.pixel_id, options.test_event_code);
    let built = Built::new(Arc::new(Pixel { graph, id, event, test_event_code, room }), secrets);
    Ok(if is_website { built.requiring(vec!["user_agent"]) } else { built })
}

#[derive(Debug, Deserialize)]
struct Received {
    events_received: usize,
    #[serde(default)]
    messages: Vec<String>,
}

#[async_trait]
impl Destination for Pixel {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        let request = self.graph.get(&[&self.id], &[("fields", "id")]);
        session.send(request).await?.json::<List>().map(|_| ())
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let mut portions = Portions::of(batch, self.room, |message| self.event.written(message));
        let mut said = Vec::new();
        while let Some(portion) = portions.next() {
            let answer = match self.send(session, &portion).await {
                Ok(response) => received(&response, &portion, &mut said),
                Err(fault) => Err(fault),
            };
            portions.settle(&portion, answer)?;
        }
        let mut receipt = portions.into_receipt(batch);
        for (count, text) in said {
            receipt.notice(count, text);
        }
        Ok(receipt.into())
    }
}

impl Pixel {
    async fn send(&self, session: &Session, portion: &Portion) -> Result<Response, Fault> {
        let more = match &self.test_event_code {
            Some(code) => format!(",\"test_event_code\":{}", serde_json::json!(code)),
            None => String::new(),
        };
        let request = self.graph.post_bytes(&[&self.id, "events"], portion.body("data", &more));
        session.send(request).await
    }
}

/// All events or none: the reply names no single one.
fn received(
    response: &Response,
    portion: &Portion,
    said: &mut Vec<(u64, String)>,
) -> Result<Vec<Verdict>, Fault> {
    let Received { events_received, messages } = response.json()?;
    if events_received != portion.len() {
        let sent = portion.len();
        let reason = format!("Meta received {events_received} events of the {sent} that were sent");
        return Err(Fault::Protocol { reason });
    }
    let count = portion.len() as u64;
    said.extend(messages.into_iter().map(|text| (count, format!("Meta says: {text}"))));
    Ok(Vec::new())
}
