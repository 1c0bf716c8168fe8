//! The catalogue: one word per destination.

use super::{Destination, OptionDoc, Spec};
use crate::finding::Finding;
use crate::finding::Source;
use crate::project::DestinationConfig;

/// A destination as the catalogue knows it: its data, its documented options, and how to configure
/// one from `[destinations.NAME]`.
#[derive(Debug)]
pub struct Entry {
    pub spec: &'static Spec,
    pub options: &'static [OptionDoc],
    /// Reads the destination's own options (the common ones are already taken out); every problem
    /// is a finding with its place in `muster.toml`.
    pub configure: fn(&DestinationConfig, &Source) -> Result<Box<dyn Destination>, Vec<Finding>>,
}
