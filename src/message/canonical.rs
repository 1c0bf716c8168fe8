//! The canonical form, written straight from the columns and the pieces that are worded once per
//! block. This is the only place that says what a canonical message looks like.
//!
//! Every name is written once, whatever collides: a computed trait goes before a profile column of
//! the same name, and a trait called `email` before the address.

use bytes::{BufMut, BytesMut};

use super::{Message, Part};
use crate::engine::Wording;
use crate::project::ModelKind;
use crate::record::{Call, Value};

/// A message that JSON cannot hold.
pub type Unwritable = serde_json::Error;

impl Message {
    /// Appends the canonical JSON of this message.
    pub fn write(&self, into: &mut BytesMut) -> Result<(), Unwritable> {
        let wording = self.first.block.wording();
        let is_member = self.is_member();
        into.extend_from_slice(&wording.before_id);
        into.extend_from_slice(&self.id().digits());
        into.extend_from_slice(wording.before_subject.of(is_member));
        write_text(into, self.subject())?;
        if self.call() == Call::Track {
            into.extend_from_slice(b",\"properties\":{");
            self.write_properties(into, wording, is_member)?;
            into.extend_from_slice(b"},\"context\":{");
            if let Some(email) = self.email() {
                into.extend_from_slice(b"\"traits\":{\"email\":");
                write_text(into, email)?;
                into.extend_from_slice(b"},");
            }
        } else {
            into.extend_from_slice(b",\"traits\":{");
            self.write_traits(into)?;
            into.extend_from_slice(b"},\"context\":{");
        }
        into.extend_from_slice(b"\"personas\":");
        self.write_computations(into);
        into.extend_from_slice(b"}}");
        Ok(())
    }

    fn write_traits(&self, into: &mut BytesMut) -> Result<(), Unwritable> {
        let mut entries = Entries { into, any: false };
        let lead = self.lead();
        for (position, value) in lead.block.profile_values(lead.row()) {
            let (_, name) = &lead.shape().profile[position];
            if !self.traits().any(|(own, _)| own == name) {
                entries.value(&lead.block.wording().profile[position], &value)?;
            }
        }
        let mut has_email = false;
        for part in self.parts() {
            has_email |= part.write_traits(&mut entries)?;
        }
        match self.email() {
            Some(email) if !has_email => entries.value(b"\"email\":", &Value::Text(email)),
            _ => Ok(()),
        }
    }

    fn write_properties(
        &self,
        into: &mut BytesMut,
        wording: &Wording,
        is_member: bool,
    ) -> Result<(), Unwritable> {
        let part = &self.first;
        let shape = part.shape();
        let audience = shape.kind == ModelKind::Audience;
        let mut entries = Entries { into, any: false };
        if audience {
            entries.piece(wording.properties[0].of(is_member));
        }
        for column in part.sent_columns() {
            let name = &shape.columns[column].1;
            if audience && (*name == shape.model_key || name == "audience_key") {
                continue;
            }
            if !entries.any {
                entries.piece(wording.properties[column].of(is_member));
            }
            entries.value(&wording.columns[column], &part.block.value(part.row(), column))?;
        }
        Ok(())
    }

    /// What was computed, or a list of it when it is several things, as when several syncs travel as
    /// one message.
    fn write_computations(&self, into: &mut BytesMut) {
        let mut all = self.parts().flat_map(Part::computations);
        let (first, second) = (all.next(), all.next());
        if let (Some(only), None) = (first, second) {
            return into.extend_from_slice(only);
        }
        into.extend_from_slice(b"{\"computations\":[");
        for (position, computation) in first.into_iter().chain(second).chain(all).enumerate() {
            if position > 0 {
                into.put_u8(b',');
            }
            into.extend_from_slice(computation);
        }
        into.extend_from_slice(b"]}");
    }
}

impl Part {
    /// Writes what `identify` and `group` carry of this row, and says whether an `email` was in it.
    fn write_traits(&self, entries: &mut Entries<'_>) -> Result<bool, Unwritable> {
        let (shape, wording) = (self.shape(), self.block.wording());
        if shape.kind == ModelKind::Audience {
            entries.piece(wording.member.of(self.change() != crate::record::Change::Exited));
            return Ok(shape.model_key == "email");
        }
        let mut has_email = false;
        for column in self.sent_columns() {
            has_email |= wording.columns[column] == b"\"email\":";
            entries.value(&wording.columns[column], &self.block.value(self.row(), column))?;
        }
        Ok(has_email)
    }

    fn computations(&self) -> impl Iterator<Item = &[u8]> {
        let of_audience = self.shape().kind == ModelKind::Audience;
        let all = &self.block.wording().computations;
        let told = move |column: &usize| of_audience || self.block.is_sent(self.row(), *column);
        (0..all.len()).filter(told).map(|column| all[column].as_slice())
    }
}

/// The entries of an object that is being written.
struct Entries<'a> {
    into: &'a mut BytesMut,
    any: bool,
}

impl Entries<'_> {
    /// A name with its colon, and its value.
    fn value(&mut self, name: &[u8], value: &Value<'_>) -> Result<(), Unwritable> {
        self.piece(name);
        match value {
            Value::Text(text) => write_text(self.into, text),
            Value::Null => {
                self.into.extend_from_slice(b"null");
                Ok(())
            }
            other => serde_json::to_writer(self.into.writer(), other),
        }
    }

    fn piece(&mut self, piece: &[u8]) {
        if self.any {
            self.into.put_u8(b',');
        }
        self.any = true;
        self.into.extend_from_slice(piece);
    }
}

/// Most texts need no escaping; they are looked at eight bytes at a time and copied.
fn write_text(into: &mut BytesMut, text: &str) -> Result<(), Unwritable> {
    if needs_escaping(text.as_bytes()) {
        return serde_json::to_writer(into.writer(), text);
    }
    into.reserve(text.len() + 2);
    into.put_u8(b'"');
    into.extend_from_slice(text.as_bytes());
    into.put_u8(b'"');
    Ok(())
}

/// Whether a text holds a quote, a backslash or a control character.
fn needs_escaping(text: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, rest) = text.as_chunks::<8>();
    let mut found = 0;
    for word in words {
        let word = u64::from_ne_bytes(*word);
        found |= word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        found |= zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
    }
    found != 0 || rest.iter().any(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\'))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value as Json, json};

    use super::*;
    use crate::engine::{Block, FixtureRow, Shape};
    use crate::record::{Change, Level};

    /// Written as we do, and as `serde_json` does.
    fn agree(text: &str) {
        let mut ours = BytesMut::new();
        write_text(&mut ours, text).unwrap();
        assert_eq!(ours, serde_json::to_vec(text).unwrap(), "{text:?}");
    }

    #[test]
    fn every_byte_at_every_place_is_escaped_as_json_asks() {
        for place in 0..17 {
            for byte in 0_u8..128 {
                let mut text = [b'a'; 17];
                text[place] = byte;
                agree(std::str::from_utf8(&text).unwrap());
            }
        }
    }

    #[test]
    fn what_is_beyond_ascii_is_left_alone() {
        for text in ["", "zoë", "Zürich 🏪 \"A\"", "\u{7f}\u{80}\u{ff}\u{2028}", "áéíóúñ¿¡áéíóú"]
        {
            agree(text);
        }
    }

    fn part(call: Call, kind: ModelKind, change: Change, columns: &[(&str, Json)]) -> Part {
        known_by("a\nb@example.org", "gold", (call, kind, change), columns)
    }

    fn known_by(
        email: &str,
        plan: &str,
        (call, kind, change): (Call, ModelKind, Change),
        columns: &[(&str, Json)],
    ) -> Part {
        let shape = Shape {
            sync: "vip.crm".into(),
            index: 0,
            call,
            kind,
            level: if call == Call::Group { Level::Account } else { Level::User },
            model_key: "vi\"p".into(),
            event: "Trait \"Computed\"".into(),
            timestamp: "2026-11-20T09:00:00Z".into(),
            columns: columns.iter().map(|(name, _)| ((*name).into(), (*name).into())).collect(),
            identifiers: Vec::new(),
            profile: ["plan", "city"].map(|name| (name.to_owned(), name.to_owned())).into(),
        };
        let row = FixtureRow {
            key: "u\\1".into(),
            subject: "u\\1".into(),
            email: Some(email.into()),
            change,
            values: columns.iter().map(|(_, value)| Some(value.clone())).collect(),
            identifiers: Vec::new(),
            profile: vec![Some(plan.into()), None],
        };
        Part::new(Arc::new(Block::fixture(Arc::new(shape), &[row])), 0)
    }

    /// The message as its own accessors describe it.
    fn described(message: &Message, computations: &Json) -> Json {
        let mut json = json!({
            "type": message.call().as_str(),
            "messageId": message.id().to_string(),
            "timestamp": message.timestamp(),
            "context": { "personas": computations },
        });
        let subject = if message.level() == Level::User { "userId" } else { "groupId" };
        json[subject] = message.subject().into();
        if message.call() == Call::Track {
            json["event"] = message.event().into();
            json["context"]["traits"] = json!({ "email": message.email() });
            let properties = message.properties();
            json["properties"] =
                properties.iter().map(|(name, value)| (*name, json!(value))).collect();
            return json;
        }
        let email = message.email().map(|email| ("email", Value::Text(email)));
        let all = email.into_iter().chain(message.profile()).chain(message.traits());
        json["traits"] = all.map(|(name, value)| (name, json!(value))).collect();
        json
    }

    fn written(message: &Message) -> String {
        let mut buffer = BytesMut::new();
        message.write(&mut buffer).unwrap();
        String::from_utf8(buffer.to_vec()).unwrap()
    }

    #[test]
    fn what_is_written_is_what_the_message_says() {
        let one = [("ltv", json!(812.5))];
        let two = [("s\"core", json!(7)), ("plan", Json::Null)];
        let named_email = [("email", json!("own"))];
        let class = |class, key| json!({ "computation_class": class, "computation_key": key });
        let list = |list: &[Json]| json!({ "computations": list });
        let (of_trait, of_audience) = (ModelKind::Trait, ModelKind::Audience);
        let audience = class("audience", "vi\"p");
        let several = list(&[class("trait", "s\"core"), class("trait", "plan")]);
        for (call, kind, change, columns, personas) in [
            (Call::Identify, of_trait, Change::Entered, &one[..], class("trait", "ltv")),
            (Call::Identify, of_trait, Change::Exited, &two, several.clone()),
            (Call::Identify, of_trait, Change::Changed, &named_email, class("trait", "email")),
            (Call::Identify, of_audience, Change::Exited, &[], audience.clone()),
            (Call::Group, of_audience, Change::Entered, &[], audience.clone()),
            (Call::Group, of_trait, Change::Changed, &one, class("trait", "ltv")),
            (Call::Group, of_trait, Change::Changed, &[], list(&[])),
            (Call::Track, of_trait, Change::Changed, &two, several),
            (Call::Track, of_trait, Change::Changed, &[], list(&[])),
            (Call::Track, of_audience, Change::Entered, &two, audience.clone()),
            (Call::Track, of_audience, Change::Exited, &[("audience_key", json!(1))], audience),
        ] {
            let message = Message::new(part(call, kind, change, columns));
            let json: Json = serde_json::from_str(&written(&message)).unwrap();
            assert_eq!(json, described(&message, &personas), "{call} {change}");
        }
    }

    /// Who leaves an audience is remembered by the address that was sent then.
    #[test]
    fn who_somebody_is_now_is_said_by_what_stays() {
        let leaves = (Call::Identify, ModelKind::Audience, Change::Exited);
        let stays = (Call::Identify, ModelKind::Trait, Change::Changed);
        let mut message = Message::new(known_by("old@x.org", "bronze", leaves, &[]));
        message.join(known_by("new@x.org", "gold", stays, &[("ltv", json!(1))]));
        let json: Json = serde_json::from_str(&written(&message)).unwrap();
        let expected = json!({"plan": "gold", "vi\"p": false, "ltv": 1, "email": "new@x.org"});
        assert_eq!(json["traits"], expected);
        assert_eq!(message.email(), Some("new@x.org"));
    }

    #[test]
    fn several_syncs_are_one_message_that_says_each_name_once() {
        let mut message = Message::new(part(
            Call::Identify,
            ModelKind::Trait,
            Change::Entered,
            &[("ltv", json!(1)), ("plan", json!("silver"))],
        ));
        message.join(part(Call::Identify, ModelKind::Audience, Change::Entered, &[]));
        let text = written(&message);
        insta::assert_snapshot!(text.replace(&message.id().to_string(), "ID"), @r#"{"type":"identify","messageId":"ID","timestamp":"2026-11-20T09:00:00Z","userId":"u\\1","traits":{"ltv":1,"plan":"silver","vi\"p":true,"email":"a\nb@example.org"},"context":{"personas":{"computations":[{"computation_class":"trait","computation_key":"ltv"},{"computation_class":"trait","computation_key":"plan"},{"computation_class":"audience","computation_key":"vi\"p"}]}}}"#);
    }
}
