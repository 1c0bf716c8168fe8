//! `tests/queries/*.sql`: one file per rule, models and tables before and after, and the changes that
//! follow. How such a file is written is in `tests/queries/README.md`; with `MUSTER_BLESS=1` what is
//! expected is replaced by what came.

use std::fs;
use std::path::{Path, PathBuf};

use super::bench::{Asked, Bench};

/// What begins a section, what a table's lines begin with, and what is expected.
const SECTION: &str = "--@ ";
const ROW: &str = "-- ";
const EXPECTED: &str = "--=";

struct Section {
    /// The words after `--@`.
    words: String,
    /// Number of the section's first line, counted from 0, and the lines after it.
    line: usize,
    body: Vec<String>,
}

fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for (line, content) in text.lines().enumerate() {
        match (content.strip_prefix(SECTION), sections.last_mut()) {
            (Some(words), _) => {
                sections.push(Section { words: words.trim().to_owned(), line, body: Vec::new() });
            }
            (None, Some(section)) => section.body.push(content.to_owned()),
            (None, None) => {
                assert!(content.is_empty() || content.starts_with(ROW), "a rule in words first");
            }
        }
    }
    sections
}

impl Section {
    /// The lines of a table.
    fn rows(&self) -> String {
        let row = |line: &String| {
            let row = line.strip_prefix(ROW).unwrap_or_else(|| panic!("no row of a table: {line}"));
            format!("{row}\n")
        };
        self.body.iter().filter(|line| !line.is_empty()).map(row).collect()
    }

    fn sql(&self) -> String {
        format!("{}\n", self.body.join("\n").trim())
    }

    fn expected(&self) -> Vec<String> {
        let line = |line: &String| {
            let text = line.strip_prefix(EXPECTED);
            let text = text.unwrap_or_else(|| panic!("not an expected line: {line}"));
            text.strip_prefix(' ').unwrap_or(text).to_owned()
        };
        self.body.iter().filter(|line| !line.is_empty()).map(line).collect()
    }
}

/// `run [allow_large_change] [replacing] [retrying] [as_of TIME] [refusing SUBJECT] [losing SUBJECT]`
fn asked<'a>(mut words: impl Iterator<Item = &'a str>) -> Asked {
    let mut asked = Asked::default();
    while let Some(word) = words.next() {
        match word {
            "allow_large_change" => asked.allow_large_change = true,
            "replacing" => asked.replace = true,
            "retrying" => asked.retry_rejected = true,
            "as_of" => asked.as_of = Some(words.next().unwrap().parse().unwrap()),
            "refusing" => asked.fates.push((words.next().unwrap().to_owned(), "refused")),
            "losing" => asked.fates.push((words.next().unwrap().to_owned(), "lost")),
            other => panic!("a run knows no `{other}`"),
        }
    }
    asked
}

/// One run of a golden file: what is expected and what came, and where it stands.
struct Step {
    line: usize,
    lines: usize,
    expected: Vec<String>,
    came: Vec<String>,
}

async fn steps(text: &str) -> Vec<Step> {
    let sections = sections(text);
    let has = |words: &str| sections.iter().any(|section| section.words == words);
    let grain = sections.iter().find_map(|section| section.words.strip_prefix("grain "));
    let mut bench = Bench::new(grain.unwrap_or("raw"), has("query suppressed"));
    let mut steps = Vec::new();
    for section in &sections {
        let (words, options) = match section.words.split_once("->") {
            Some((words, options)) => (words.trim(), Some(options.trim())),
            None => (section.words.as_str(), None),
        };
        match words.split_once(' ').unwrap_or((words, "")) {
            ("grain", _) => {}
            ("table", name) => bench.table(name, &section.rows()),
            ("query", name) => bench.write(&format!("queries/{name}.sql"), &section.sql()),
            (kind @ ("trait" | "audience"), stem) => {
                bench.model(kind, stem, options, &section.sql());
            }
            ("run", rest) => {
                let outcome = bench.run(&asked(rest.split_whitespace())).await;
                let lines = section.body.iter().take_while(|line| !line.is_empty()).count();
                steps.push(Step {
                    line: section.line,
                    lines,
                    expected: section.expected(),
                    came: bench.told(outcome),
                });
            }
            _ => panic!("a golden file knows no `{words}`"),
        }
    }
    assert!(!steps.is_empty(), "nothing is run");
    steps
}

fn blessed(text: &str, steps: &[Step]) -> String {
    let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
    for step in steps.iter().rev() {
        let came = step.came.iter().map(|line| format!("{EXPECTED} {line}").trim_end().to_owned());
        lines.splice(step.line + 1..=step.line + step.lines, came);
    }
    lines.join("\n") + "\n"
}

/// What does not hold in one file.
async fn misses(path: &Path, bless: bool) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let steps = steps(&text).await;
    if bless {
        fs::write(path, blessed(&text, &steps)).unwrap();
        return Vec::new();
    }
    let missed = steps.iter().filter(|step| step.expected != step.came);
    let name = path.file_name().unwrap().to_string_lossy();
    missed
        .map(|step| {
            format!(
                "{name}:{}\nexpected:\n  {}\ncame:\n  {}\n",
                step.line + 1,
                step.expected.join("\n  "),
                step.came.join("\n  ")
            )
        })
        .collect()
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/queries");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "sql")).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_golden_query_holds() {
    let bless = std::env::var("MUSTER_BLESS").is_ok();
    let files = files();
    assert!(files.len() > 30, "the files were found");
    let mut missed = Vec::new();
    for path in files {
        missed.extend(misses(&path, bless).await);
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn a_golden_file_reads_as_sections() {
    let text = "-- A rule.\n--@ table users\n-- user_id,score\n-- u1,1\n\n--@ run losing u1\n--= a\n--=  b\n";
    let read = sections(text);
    let words: Vec<&str> = read.iter().map(|section| section.words.as_str()).collect();
    assert_eq!(words, ["table users", "run losing u1"]);
    assert_eq!(read[0].rows(), "user_id,score\nu1,1\n");
    assert_eq!((read[1].line, read[1].expected()), (5, vec!["a".to_owned(), " b".to_owned()]));
    assert_eq!(asked("losing u1".split(' ')).fates, [("u1".to_owned(), "lost")]);
}

#[test]
fn blessing_replaces_what_is_expected_and_nothing_else() {
    let step = |line, lines| Step {
        line,
        lines,
        expected: Vec::new(),
        came: vec!["new".into(), String::new()],
    };
    let text = "-- A rule.\n--@ run\n--= old\n--= older\n\n--@ run\n";
    assert_eq!(
        blessed(text, &[step(1, 2), step(5, 0)]),
        "-- A rule.\n--@ run\n--= new\n--=\n\n--@ run\n--= new\n--=\n"
    );
}
