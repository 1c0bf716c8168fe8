//! Canonical messages as a test looks at them.

use serde_json::{Value, json};

use crate::remote::email;

/// Messages in the order of arrival.
#[derive(Debug, Clone)]
pub struct Messages(pub Vec<Value>);

impl Messages {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Subject ids, sorted, one for each message.
    pub fn subjects(&self) -> Vec<&str> {
        let mut subjects: Vec<_> = self
            .0
            .iter()
            .map(|message| {
                message["userId"].as_str().or_else(|| message["groupId"].as_str()).unwrap()
            })
            .collect();
        subjects.sort_unstable();
        subjects
    }

    /// Subject and email of each message, sorted.
    pub fn addressed(&self) -> Vec<(&str, Option<&str>)> {
        let mut pairs: Vec<_> = self
            .0
            .iter()
            .map(|message| (message["userId"].as_str().unwrap(), email(message)))
            .collect();
        pairs.sort_unstable();
        pairs
    }

    /// The messages about one subject.
    pub fn about(&self, subject: &str) -> Self {
        let about =
            |message: &&Value| message["userId"] == subject || message["groupId"] == subject;
        Self(self.0.iter().filter(about).cloned().collect())
    }

    /// The only message there is.
    #[track_caller]
    pub fn only(&self) -> &Value {
        assert_eq!(self.0.len(), 1, "expected one message, got {:#?}", self.0);
        &self.0[0]
    }

    /// `traits` of every message, in an order that does not depend on arrival.
    pub fn traits(&self) -> Vec<Value> {
        self.sorted("traits")
    }

    /// `properties` of every message, in an order that does not depend on arrival.
    pub fn properties(&self) -> Vec<Value> {
        self.sorted("properties")
    }

    /// Message ids in the order of arrival.
    #[track_caller]
    pub fn ids(&self) -> Vec<&str> {
        self.0.iter().map(|message| message["messageId"].as_str().unwrap()).collect()
    }

    #[track_caller]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn sorted(&self, key: &str) -> Vec<Value> {
        let mut values: Vec<_> = self.0.iter().map(|message| message[key].clone()).collect();
        values.sort_by_cached_key(Value::to_string);
        values
    }
}

/// A message without what differs from run to run: its id and its time.
#[track_caller]
pub fn timeless(message: &Value) -> Value {
    let mut message = message.clone();
    let object = message.as_object_mut().unwrap();
    for key in ["messageId", "timestamp"] {
        let removed = object.remove(key).unwrap_or_default();
        assert!(removed.is_string(), "`{key}` is not text in {message:#}", message = json!(object));
    }
    message
}
