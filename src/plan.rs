//! Which syncs run and why, or why not. Pure: no clock, no files.

use std::collections::{BTreeMap, BTreeSet};

/// Models that select from each other in a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle {
    /// The circle itself, each selecting from the next.
    pub keys: Vec<String>,
    /// Every model that is not in or behind a circle, in order.
    pub rest: Vec<String>,
}

/// Orders models so that each comes after what it selects from; ties by name.
pub fn order(edges: &BTreeMap<String, BTreeSet<String>>) -> Result<Vec<String>, Cycle> {
    let mut done: Vec<String> = Vec::with_capacity(edges.len());
    let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
    let mut dependents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut ready: BTreeSet<&str> = BTreeSet::new();
    for (key, needs) in edges {
        let needs: Vec<&String> = needs.iter().filter(|need| edges.contains_key(*need)).collect();
        if needs.is_empty() {
            ready.insert(key);
        } else {
            waiting.insert(key, needs.len());
        }
        for need in needs {
            dependents.entry(need).or_default().push(key);
        }
    }
    while let Some(key) = ready.pop_first() {
        done.push(key.to_owned());
        for dependent in dependents.remove(key).unwrap_or_default() {
            if let Some(count) = waiting.get_mut(dependent) {
                *count -= 1;
                if *count == 0 {
                    waiting.remove(dependent);
                    ready.insert(dependent);
                }
            }
        }
    }
    match waiting.keys().next() {
        None => Ok(done),
        Some(start) => Err(Cycle { keys: circle(edges, &waiting, start), rest: done }),
    }
}

/// Walks from a model that waits until one comes again.
fn circle(
    edges: &BTreeMap<String, BTreeSet<String>>,
    waiting: &BTreeMap<&str, usize>,
    start: &str,
) -> Vec<String> {
    let mut path: Vec<&str> = Vec::new();
    let mut at = start;
    loop {
        if let Some(first) = path.iter().position(|key| *key == at) {
            return path[first..].iter().map(|key| (*key).to_owned()).collect();
        }
        path.push(at);
        let needs = edges.get(at).into_iter().flatten();
        match needs.map(String::as_str).find(|need| waiting.contains_key(need)) {
            Some(next) => at = next,
            None => return path.into_iter().map(ToOwned::to_owned).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(list: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        list.iter().map(|(key, needs)| ((*key).to_owned(), owned(needs))).collect()
    }

    #[test]
    fn each_model_comes_after_what_it_selects_from() {
        let edges = edges(&[("a", &["c"]), ("b", &[]), ("c", &["b", "unknown"])]);
        assert_eq!(order(&edges), Ok(vec!["b".into(), "c".into(), "a".into()]));
    }

    #[test]
    fn a_circle_is_named_and_the_rest_still_ordered() {
        let edges = edges(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"]), ("d", &[])]);
        let cycle = order(&edges).unwrap_err();
        assert_eq!(cycle.keys, ["b", "c"]);
        assert_eq!(cycle.rest, ["d"]);
    }
}
