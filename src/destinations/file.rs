//! Canonical messages as files: one NDJSON file per sync and run, or one Parquet file per batch.
//!
//! What it promises: a line is on disk before it counts as delivered; a line that a killed run tore
//! is cut off before the sync writes again; a Parquet file is there as a whole or not at all, under a
//! name that a repeated batch overwrites.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, Idempotency,
    LOCAL_OPTIONS, Maturity, OptionDoc, Reader, Remote, Spec, Target,
};
use crate::delivery::Session;
use crate::engine::{MessageRow, messages_to_parquet};
use crate::finding::Finding;
use crate::message::Part;
use crate::record::Call;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: LOCAL_OPTIONS, configure };

/// What is known of files.
pub static SPEC: Spec = Spec {
    kind: "file",
    title: "File",
    summary: "Writes canonical messages into files below a folder, NDJSON or Parquet.",
    calls: &[Call::Identify, Call::Track, Call::Group],
    grain: Grain::Raw,
    identifiers: "userId, groupId and email, as the messages carry them",
    batch: BatchLimits {
        rows: 10_000,
        max_rows: 1_000_000,
        bytes: 16_000_000,
        row_bytes: 16_000_000,
    },
    concurrency: 1,
    idempotency: Idempotency::MessageId,
    coalesce: false,
    maturity: Maturity::Beta,
    example: r#"[destinations.files]
type = "file"
path = "out"
format = "ndjson"
"#,
    notes: &[
        "NDJSON: one file per sync and run, `<path>/<sync>.<run>.ndjson`, made with its first message.",
        "Parquet: one file per batch, `<path>/<sync>.<run>.<row>.parquet`; traits, properties and context are JSON text.",
        "At least once: a line written by a run that was killed may be repeated by the next one, with the same messageId.",
    ],
    ..Spec::EVENT
};

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::optional("path", "folder, relative to the project; default \"out\""),
    OptionDoc::optional("format", "\"ndjson\" (default) or \"parquet\""),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    #[serde(default = "default_path")]
    path: PathBuf,
    #[serde(default)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Ndjson,
    Parquet,
}

/// One folder.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    format: Format,
}

/// What is kept of an opened sync: how its files are called in this run.
#[derive(Debug, Serialize, Deserialize)]
struct Opened {
    stem: String,
}

fn default_path() -> PathBuf {
    "out".into()
}

fn configure(reader: &Reader<'_>, _common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { path, format } = reader.own()?;
    let path = reader.config().root.join(path);
    Ok(Built::new(Arc::new(Folder { path, format }), Vec::new()))
}

#[async_trait]
impl Destination for Folder {
    /// Files need no credentials.
    async fn check(&self, _session: &Session) -> Result<(), Fault> {
        Ok(())
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        let earlier = target.remote.as_ref().and_then(|remote| Opened::read(remote).ok());
        if let (Format::Ndjson, Some(earlier)) = (self.format, earlier) {
            session.trim(&self.lines(&earlier)).await?;
        }
        let stem = format!("{}.{}", target.sync, target.run).replace(['/', '\\'], "_");
        let opened = serde_json::to_value(Opened { stem });
        opened.map(Remote).map_err(|error| Fault::Protocol { reason: error.to_string() })
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let opened = Opened::read(remote)?;
        match self.format {
            Format::Ndjson => session.append(&self.lines(&opened), lines(batch)?).await?,
            Format::Parquet => {
                let path = self.rows(&opened, batch);
                session.replace(&path, parquet(batch)?).await?;
            }
        }
        Ok(batch.delivered().into())
    }
}

impl Folder {
    fn lines(&self, opened: &Opened) -> PathBuf {
        self.path.join(format!("{}.ndjson", opened.stem))
    }

    /// Named after the batch's first row, so that a repeated batch takes the place of the first try.
    fn rows(&self, opened: &Opened, batch: &Batch) -> PathBuf {
        let row = batch.messages()[0].parts().next().map_or(0, Part::row_number);
        self.path.join(format!("{}.{row:010}.parquet", opened.stem))
    }
}

impl Opened {
    fn read(remote: &Remote) -> Result<Self, Fault> {
        Self::deserialize(&remote.0).map_err(|error| Fault::Misconfigured {
            reason: format!("what was kept of the opened file cannot be read: {error}"),
        })
    }
}

fn lines(batch: &Batch) -> Result<Bytes, Fault> {
    let encoded = batch.encoded()?;
    let mut text = Vec::with_capacity(encoded.iter().map(|line| line.len() + 1).sum());
    for line in encoded {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    Ok(text.into())
}

fn parquet(batch: &Batch) -> Result<Bytes, Fault> {
    let unwritable = |reason: String| Fault::Rejected { reason };
    let rows = batch
        .messages()
        .iter()
        .zip(batch.encoded()?)
        .map(|(message, encoded)| {
            let row = serde_json::from_slice::<MessageRow<'_>>(encoded)?;
            Ok(MessageRow { email: message.email(), ..row })
        })
        .collect::<Result<Vec<_>, serde_json::Error>>()
        .map_err(|error| unwritable(error.to_string()))?;
    messages_to_parquet(&rows).map(Bytes::from).map_err(|error| unwritable(error.to_string()))
}

/// An acknowledgement of everything.
#[cfg(test)]
pub(super) fn server(_: &crate::delivery::Captured) -> crate::delivery::Reply {
    crate::delivery::Reply::status(200, "OK")
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::SystemTime;

    use super::*;
    use crate::delivery::{Surroundings, Terms};
    use crate::destinations::Configured;
    use crate::destinations::fixture::{batch, configured, identify, target, target_with, unicode};

    fn folder(path: &Path, format: &str) -> (Configured, Session) {
        let path = path.join("made/when/needed");
        let made = configured(&format!(
            "[destinations.files]\ntype = \"file\"\npath = '{}'\nformat = \"{format}\"\n",
            path.display()
        ))
        .unwrap();
        let terms: Terms = made.terms();
        let surroundings = Surroundings { seed: 0, now: SystemTime::UNIX_EPOCH };
        (made, Session::live(&terms, surroundings).unwrap())
    }

    fn files(path: &Path) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(path.join("made/when/needed")) else {
            return Vec::new();
        };
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries.map(|entry| name(entry).into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn lines_are_added_and_a_torn_one_is_cut_off() {
        let place = tempfile::tempdir().unwrap();
        let (made, session) = folder(place.path(), "ndjson");
        let remote = made.destination.open(&session, &target()).await.unwrap();
        assert_eq!(files(place.path()), [""; 0]);
        for message in [identify(), unicode()] {
            made.destination.deliver(&session, &remote, &batch([message])).await.unwrap();
        }
        assert_eq!(files(place.path()), ["vip.crm.run17.ndjson"]);

        let file = place.path().join("made/when/needed/vip.crm.run17.ndjson");
        let whole = std::fs::read_to_string(&file).unwrap();
        assert_eq!(whole.lines().count(), 2);
        std::fs::OpenOptions::new()
            .append(true)
            .open(&file)
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"{\"type\":\"ide"))
            .unwrap();
        let target = Target { run: "run18".into(), ..target_with(remote.0) };
        made.destination.open(&session, &target).await.unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), whole);
    }

    #[tokio::test]
    async fn a_repeated_batch_takes_the_place_of_the_first_try() {
        let place = tempfile::tempdir().unwrap();
        let (made, session) = folder(place.path(), "parquet");
        let remote = made.destination.open(&session, &target()).await.unwrap();
        for _ in 0..2 {
            let batch = batch([identify(), unicode()]);
            made.destination.deliver(&session, &remote, &batch).await.unwrap();
        }
        assert_eq!(files(place.path()), ["vip.crm.run17.0000000000.parquet"]);
    }
}
