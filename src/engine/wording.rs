//! What is the same in every message of one sync, worded as JSON once per block and not once per row.
//!
//! The pieces are what a message's canonical form (`message.rs`) is put together from; every one is
//! escaped already. Pure: knows the shape of a sync and none of its rows.

use super::block::Shape;
use crate::project::ModelKind;
use crate::record::{Call, Level};

/// The pieces of one sync's messages.
#[derive(Debug)]
pub struct Wording {
    /// From the opening brace up to the message id.
    pub before_id: Vec<u8>,
    /// From the message id up to the subject.
    pub before_subject: Membership,
    /// The names under which columns travel, each with its colon.
    pub columns: Vec<Vec<u8>>,
    /// The same of profile columns.
    pub profile: Vec<Vec<u8>>,
    /// What was computed: one per column of a trait, one for an audience.
    pub computations: Vec<Vec<u8>>,
    /// The audience's own trait.
    pub member: Membership,
    /// What comes first in a `track` message's properties: of an audience all it has, of a trait one
    /// per column.
    pub properties: Vec<Membership>,
}

/// A piece that says whether the record is a member.
#[derive(Debug)]
pub struct Membership {
    stays: Vec<u8>,
    leaves: Vec<u8>,
}

impl Membership {
    fn new(word: impl Fn(bool) -> Vec<u8>) -> Self {
        Self { stays: word(true), leaves: word(false) }
    }

    pub fn of(&self, is_member: bool) -> &[u8] {
        if is_member { &self.stays } else { &self.leaves }
    }
}

impl Wording {
    pub fn of(shape: &Shape) -> Self {
        let names = |pairs: &[(String, String)]| {
            pairs.iter().map(|(_, name)| [&*quoted(name), b":"].concat()).collect()
        };
        let key = quoted(&shape.model_key);
        let member = Membership::new(|is_member| {
            [&*key, b":", if is_member { b"true" } else { b"false" }].concat()
        });
        Self {
            before_id: [b"{\"type\":", &*quoted(shape.call.as_str()), b",\"messageId\":\""]
                .concat(),
            before_subject: Membership::new(|is_member| before_subject(shape, is_member)),
            columns: names(&shape.columns),
            profile: names(&shape.profile),
            computations: computations(shape),
            properties: properties(shape, &member),
            member,
        }
    }
}

fn before_subject(shape: &Shape, is_member: bool) -> Vec<u8> {
    let mut piece = [b"\",\"timestamp\":", &*quoted(&shape.timestamp)].concat();
    if shape.call == Call::Track {
        piece.extend_from_slice(b",\"event\":");
        piece.extend(quoted(shape.event(is_member)));
    }
    piece.extend_from_slice(match shape.level {
        Level::User => b",\"userId\":",
        Level::Account => b",\"groupId\":",
    });
    piece
}

fn computations(shape: &Shape) -> Vec<Vec<u8>> {
    let computation = |name: &str| {
        let class = quoted(shape.kind.as_str());
        let key = quoted(name);
        [b"{\"computation_class\":", &*class, b",\"computation_key\":", &*key, b"}"].concat()
    };
    match shape.kind {
        ModelKind::Audience => vec![computation(&shape.model_key)],
        ModelKind::Trait => shape.columns.iter().map(|(_, name)| computation(name)).collect(),
    }
}

fn properties(shape: &Shape, member: &Membership) -> Vec<Membership> {
    match shape.kind {
        ModelKind::Audience => {
            let key = [b"\"audience_key\":", &*quoted(&shape.model_key), b","].concat();
            vec![Membership::new(|is_member| [&*key, member.of(is_member)].concat())]
        }
        ModelKind::Trait => {
            let names = shape.columns.iter().map(|(_, name)| quoted(name));
            names.map(|name| Membership::new(|_| [b"\"trait_key\":", &*name].concat())).collect()
        }
    }
}

fn quoted(text: &str) -> Vec<u8> {
    // A text is always JSON.
    serde_json::to_vec(text).unwrap_or_default()
}
