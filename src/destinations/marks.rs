//! Marks of records in the handle of a job: what a platform calls by its identity when the job is
//! done, perhaps in another process, is told apart by a short hash of that identity.
//!
//! What it promises: a mark is the same in every process, whatever case or space surrounds the
//! identity; handles hold no row values.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::digest::hex;

/// 48 bits: among 30,000 records, two share a mark once in half a million batches.
pub(super) fn mark(identity: &str) -> String {
    let hash = Sha256::digest(identity.trim().to_lowercase().as_bytes());
    hex(&hash[..6])
}

/// The position of every mark that only one record has.
pub(super) fn positions(marks: &[String]) -> HashMap<&str, usize> {
    let mut positions = HashMap::with_capacity(marks.len());
    for (position, mark) in marks.iter().enumerate() {
        let known = positions.entry(mark.as_str()).or_insert(Some(position));
        *known = known.filter(|known| *known == position);
    }
    positions.into_iter().filter_map(|(mark, position)| Some((mark, position?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_heeds_neither_case_nor_space() {
        assert_eq!(mark(" Mara@Example.org"), mark("mara@example.org"));
        assert_ne!(mark("mara@example.org"), mark("ivo@example.org"));
        assert_eq!(mark("mara@example.org").len(), 12);
    }

    #[test]
    fn a_mark_that_two_records_share_names_neither() {
        let marks = ["A1", "b2", "a1"].map(mark);
        let positions = positions(&marks);
        assert_eq!(positions.get(mark("B2").as_str()), Some(&1));
        assert_eq!(positions.len(), 1);
    }
}
