//! Requests that each destination was sent by the hour, for limits per day:
//! `budgets/<destination>.json`.

use std::collections::BTreeMap;

use super::{Result, StateError, Store};

/// Requests by the hour, counted from 1970; none where nothing was ever kept.
pub fn booked(store: &Store, destination: &str) -> Result<BTreeMap<u64, u64>> {
    let path = store.path(&format!("budgets/{destination}.json"));
    let Some(bytes) = store.read(&path)? else { return Ok(BTreeMap::new()) };
    serde_json::from_slice(&bytes)
        .map_err(|error| StateError::Read { path, source: std::io::Error::other(error) })
}

pub fn book(store: &Store, destination: &str, booked: &BTreeMap<u64, u64>) -> Result<()> {
    let path = store.path(&format!("budgets/{destination}.json"));
    let bytes = serde_json::to_vec(booked)
        .map_err(|error| StateError::Write { path: path.clone(), source: error.into() })?;
    store.replace(&path, &bytes)
}
