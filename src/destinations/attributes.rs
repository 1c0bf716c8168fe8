//! What a message says of a person or account as attributes, for vendors who keep profiles.
//!
//! Pure, and nothing here knows a vendor: how a value is encoded is each vendor's own.

use serde::Serialize;

use crate::message::Message;
use crate::record::Value;

/// Traits, and the profile columns that travel beside them under names that no trait has.
pub(super) fn attributes(message: &Message) -> impl Iterator<Item = (&str, Value<'_>)> {
    let of_profile =
        message.profile().filter(|(name, _)| !message.traits().any(|(own, _)| own == *name));
    of_profile.chain(message.traits())
}

/// The same without the profile columns that the vendor has properties of its own for.
pub(super) fn attributes_beside<'m>(
    message: &'m Message,
    own: &'static [&'static str],
) -> impl Iterator<Item = (&'m str, Value<'m>)> {
    let of_profile = message.profile().filter(move |(name, _)| {
        !own.contains(name) && !message.traits().any(|(taken, _)| taken == *name)
    });
    of_profile.chain(message.traits())
}

/// The preferred email, unless an attribute says it already.
pub(super) fn email_beside_attributes(message: &Message) -> Option<&str> {
    message.email().filter(|_| !attributes(message).any(|(name, _)| name == "email"))
}

/// The JSON of one object of a request.
pub(super) fn written(object: &impl Serialize) -> Result<Vec<u8>, String> {
    serde_json::to_vec(object).map_err(|error| format!("it cannot be encoded: {error}"))
}
