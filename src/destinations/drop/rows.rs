//! What a file holds: its header, and a row per member. RFC 4180, except that lines end with LF.
//!
//! What it promises: the columns of a list's files depend on nothing but its model and the options.

use csv::{QuoteStyle, Terminator, WriterBuilder};
use serde::Deserialize;

use super::super::{Fault, MatchField, normalise};
use crate::message::{Message, Part};

/// Whom a file is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Added,
    Removed,
    /// Everybody.
    Full,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(in super::super) enum Delimiter {
    #[default]
    #[serde(rename = ",")]
    Comma,
    #[serde(rename = ";")]
    Semicolon,
    #[serde(rename = "|")]
    Pipe,
    #[serde(rename = ":")]
    Colon,
    #[serde(rename = "tab")]
    Tab,
}

/// The columns of every file.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) fields: Vec<MatchField>,
    /// Which of these are written as hashes.
    pub(super) hashed: Vec<bool>,
    pub(super) user_id: bool,
    pub(super) delimiter: Delimiter,
}

impl Kind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Full => "full",
        }
    }

    const fn action(self) -> &'static str {
        match self {
            Self::Added | Self::Full => "true",
            Self::Removed => "false",
        }
    }
}

impl Delimiter {
    const fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Pipe => b'|',
            Self::Colon => b':',
            Self::Tab => b'\t',
        }
    }
}

impl Columns {
    /// Names that the model's other columns cannot have.
    pub(super) fn own(&self) -> Vec<String> {
        let user_id = self.user_id.then_some("user_id");
        let fixed = ["audience_key", "audience_action"].into_iter().chain(user_id);
        let fixed = fixed.map(str::to_owned).chain(self.identifiers());
        fixed.chain(["timestamp".to_owned()]).collect()
    }

    fn identifiers(&self) -> impl Iterator<Item = String> {
        self.fields.iter().zip(&self.hashed).map(|(field, hashed)| {
            if *hashed { format!("{}_sha256", field.source) } else { field.source.to_owned() }
        })
    }

    /// The file of these members, who are all of one model.
    pub(super) fn written<'m>(
        &self,
        kind: Kind,
        members: impl Iterator<Item = &'m Message>,
    ) -> Result<Vec<u8>, Fault> {
        let unwritable = |error: csv::Error| Fault::Rejected {
            reason: format!("the file cannot be written: {error}"),
        };
        let mut writer = WriterBuilder::new()
            .delimiter(self.delimiter.byte())
            .quote_style(QuoteStyle::Always)
            .terminator(Terminator::Any(b'\n'))
            .from_writer(Vec::new());
        for (position, message) in members.enumerate() {
            if position == 0 {
                writer.write_record(self.header(kind, message)).map_err(unwritable)?;
            }
            writer.write_record(self.row(kind, message)).map_err(unwritable)?;
        }
        writer.into_inner().map_err(|error| Fault::Rejected { reason: error.to_string() })
    }

    fn header(&self, kind: Kind, message: &Message) -> Vec<String> {
        let mut names = self.own();
        let last = names.len() - 1;
        names.splice(last..last, others(kind, message).iter().map(|name| (*name).to_owned()));
        names
    }

    fn row(&self, kind: Kind, message: &Message) -> Vec<String> {
        let key = message.parts().next().map_or("", |part| part.shape().model_key.as_str());
        let mut row = vec![key.to_owned(), kind.action().to_owned()];
        row.extend(self.user_id.then(|| message.subject().to_owned()));
        row.extend(self.fields.iter().zip(&self.hashed).map(|(field, hashed)| {
            match (field.of(message), hashed) {
                (Some(value), true) => normalise::sha256(value),
                (Some(value), false) => value.to_owned(),
                (None, _) => String::new(),
            }
        }));
        let said = |name: &&str| {
            let mut sent = message.parts().flat_map(Part::sent);
            sent.find(|(other, _)| other == name)
                .map_or_else(String::new, |(_, value)| value.to_string())
        };
        row.extend(others(kind, message).iter().map(said));
        row.push(message.timestamp().to_owned());
        row
    }
}

/// The model's other columns; who leaves has none.
fn others(kind: Kind, message: &Message) -> Vec<&str> {
    let columns = message.parts().flat_map(|part| &part.shape().columns);
    match kind {
        Kind::Added | Kind::Full => columns.map(|(_, name)| name.as_str()).collect(),
        Kind::Removed => Vec::new(),
    }
}
