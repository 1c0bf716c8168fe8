//! What the platforms that match people against a list have in common: which identifiers a project
//! matches by, who enters and who leaves in a batch, and which of the remote lists is meant.
//!
//! Pure, and nothing here knows a vendor. What it promises: of several remote lists with one name none
//! is picked; a value of an option is never quoted.

use serde::de::value::StringDeserializer;
use serde::de::{DeserializeOwned, Error as _, IntoDeserializer as _};
use serde::{Deserialize, Deserializer, Serialize};
use toml::Value;

use super::{Batch, Fault, MatchField, OptionDoc, Reader, Remote, Target};
use crate::finding::Finding;
use crate::message::Message;

pub(super) const COUNTRY: OptionDoc = OptionDoc::optional(
    "country",
    "two-letter code of the country in which people are taken to be whose profile has no `country`",
);

/// The fields that `match_by` names, or those that are used without it.
pub(super) fn fields(
    reader: &Reader<'_>,
    known: &[MatchField],
    match_by: Option<&[String]>,
    default: &[&str],
) -> Result<Vec<MatchField>, Vec<Finding>> {
    let is_known = |word: &&str| known.iter().any(|field| field.source == *word);
    let words: Vec<&str> = match match_by {
        Some(words) => words.iter().map(String::as_str).collect(),
        None => default.to_vec(),
    };
    if !words.is_empty() && words.iter().all(is_known) {
        return Ok(known.iter().filter(|field| words.contains(&field.source)).copied().collect());
    }
    let names: Vec<_> = known.iter().map(|field| format!("`{}`", field.source)).collect();
    let fact = format!("must name at least one of {}, and nothing else", names.join(", "));
    Err(vec![reader.refuse("match_by", &fact)])
}

/// `match_by`: a list, or one word in its place.
pub(super) fn several<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    words(Value::deserialize(deserializer)?).map(Some)
}

/// `match_by` of a platform that tells people apart by one identifier: a word, or a list of one.
pub(super) fn single<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<T, D::Error> {
    let mut words: Vec<String> = words(Value::deserialize(deserializer)?)?;
    let word: StringDeserializer<D::Error> = match (words.pop(), words.is_empty()) {
        (Some(word), true) => word.into_deserializer(),
        _ => return Err(D::Error::custom("expected one identifier, not several or none")),
    };
    T::deserialize(word)
}

fn words<E: serde::de::Error>(value: Value) -> Result<Vec<String>, E> {
    let word = |value| match value {
        Value::String(word) => Some(word),
        _ => None,
    };
    let words = match value {
        Value::Array(values) => values.into_iter().map(word).collect(),
        value => word(value).map(|word| vec![word]),
    };
    words.ok_or_else(|| E::custom("expected a text or a list of texts"))
}

/// The country that `country` names.
pub(super) fn country(
    reader: &Reader<'_>,
    country: Option<String>,
) -> Result<Option<String>, Vec<Finding>> {
    let is_code = |code: &String| code.len() == 2 && code.bytes().all(|b| b.is_ascii_alphabetic());
    if country.as_ref().is_none_or(is_code) {
        return Ok(country);
    }
    Err(vec![reader.refuse("country", "is not a two-letter country code such as \"US\"")])
}

/// The messages of a batch by what becomes of the member, with their positions.
#[derive(Debug)]
pub(super) struct Parted<'b> {
    pub entering: Vec<Member<'b>>,
    pub leaving: Vec<Member<'b>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'b> {
    pub position: usize,
    pub message: &'b Message,
}

impl<'b> Parted<'b> {
    pub(super) fn of(batch: &'b Batch) -> Self {
        let members = batch.messages().iter().enumerate();
        let (entering, leaving) = members
            .map(|(position, message)| Member { position, message })
            .partition(|member| member.message.is_member());
        Self { entering, leaving }
    }
}

/// A remote list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct List {
    pub id: String,
}

impl List {
    pub(super) fn of(remote: &Remote) -> Result<Self, Fault> {
        Self::deserialize(&remote.0).map_err(|error| Fault::Protocol {
            reason: format!("what was kept of the remote list cannot be read: {error}"),
        })
    }

    pub(super) fn into_remote(self) -> Remote {
        Remote(serde_json::json!({ "id": self.id }))
    }
}

/// By what name a list is looked for and created.
pub(super) fn name(target: &Target) -> &str {
    target.list.as_deref().unwrap_or(&target.model_name)
}

/// The one list of that name among (id, name) pairs.
pub(super) fn named<'l>(
    lists: impl IntoIterator<Item = (&'l str, &'l str)>,
    name: &str,
) -> Result<Option<List>, Fault> {
    let mut found = lists.into_iter().filter(|(_, other)| *other == name).map(|(id, _)| id);
    let Some(first) = found.next() else { return Ok(None) };
    let others: Vec<&str> = found.filter(|other| *other != first).collect();
    if others.is_empty() {
        return Ok(Some(List { id: first.to_owned() }));
    }
    let reason = format!(
        "there are several lists named `{name}` ({first}, {}); write the id of the one that is meant as \
         the sync's `list`",
        others.join(", ")
    );
    Err(Fault::Misconfigured { reason })
}

/// What is said of a `list` that looks like an id and is not there.
pub(super) fn unknown(id: &str, reason: &str) -> Fault {
    Fault::Misconfigured { reason: format!("the list `{id}` cannot be used: {reason}") }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{configured, told};

    fn matched(kind: &str, more: &str) -> Result<Vec<&'static str>, String> {
        let made = configured(&format!("[destinations.d]\ntype = \"{kind}\"\n{more}\n"));
        let sources = |fields: &[super::MatchField]| fields.iter().map(|one| one.source).collect();
        made.map(|made| sources(&made.match_fields)).map_err(|findings| told(&findings))
    }

    #[test]
    fn match_by_is_a_word_or_a_list_everywhere() {
        let tiktok = |match_by: &str| {
            let account = "access_token = \"t\"\nadvertiser_id = \"7\"";
            matched("tiktok_audiences", &format!("{account}\nmatch_by = {match_by}"))
        };
        let klaviyo = |match_by: &str| {
            matched("klaviyo_lists", &format!("api_key = \"k\"\nmatch_by = {match_by}"))
        };
        for match_by in ["\"phone\"", "[\"phone\"]"] {
            assert_eq!(tiktok(match_by), Ok(vec!["phone"]), "{match_by}");
            assert_eq!(klaviyo(match_by), Ok(vec!["phone"]), "{match_by}");
        }
        assert_eq!(tiktok("[\"phone\", \"email\"]"), Ok(vec!["email", "phone"]));
        for match_by in ["[]", "7", "[7]", "\"fax\"", "[\"fax\"]"] {
            assert!(tiktok(match_by).is_err(), "{match_by}");
            assert!(klaviyo(match_by).is_err(), "{match_by}");
        }
        let told = klaviyo("[\"phone\", \"email\"]").unwrap_err();
        assert!(told.contains("expected one identifier, not several or none"), "{told}");
    }
}
