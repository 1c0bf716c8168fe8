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
        write_hex(into, self.id().0);
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
        let first = &self.first;
        for (position, value) in first.block.profile_values(first.row()) {
            let (_, name) = &first.shape().profile[position];
            if !self.traits().any(|(own, _)| own == name) {
                entries.value(&first.block.wording().profile[position], &value)?;
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

    fn computations(&self) -> impl Iterator<Item = &Vec<u8>> {
        let all = &self.block.wording().computations;
        let audience = (self.shape().kind == ModelKind::Audience).then(|| &all[0]);
        let traits = (self.shape().kind == ModelKind::Trait)
            .then(|| self.sent_columns().map(|column| &all[column]));
        audience.into_iter().chain(traits.into_iter().flatten())
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

fn write_hex(into: &mut BytesMut, id: [u8; 16]) {
    let mut text = [0_u8; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(id) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    into.extend_from_slice(&text);
}

const DIGITS: [u8; 16] = *b"0123456789abcdef";

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
    use super::*;

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
}
