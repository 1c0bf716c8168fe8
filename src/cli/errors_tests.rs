//! Findings rendered, as inline strings.

use super::*;
use crate::finding::Source;

/// A finding at the first occurrence of `word` in `text`.
fn at(text: &str, word: &str) -> Finding {
    let start = text.find(word).unwrap();
    let source = Source::new("queries/a.sql", text);
    Finding::error("Q03", "something is wrong").at(&source, Some(start..start + word.len()))
}

fn plain(finding: &Finding) -> String {
    render(std::slice::from_ref(finding), Paint::Plain)
}

#[test]
fn a_finding_looks_as_the_house_wants_it() {
    let text = "/*\n[audience]\n*/\nselect u.user_id as id, u.email\nfrom users u\n";
    let source = Source::new("queries/audiences/big_spenders.sql", text);
    let start = text.find("u.user_id").unwrap();
    let finding = Finding::error("Q03", "audience `big_spenders` does not produce its key column")
        .at(&source, Some(start..start + 9))
        .label("expected a column named `user_id`")
        .note("columns: `id`, `email`")
        .hint("alias it `as user_id`");
    assert_eq!(
        plain(&finding),
        "\
error[Q03]: audience `big_spenders` does not produce its key column
  --> queries/audiences/big_spenders.sql:4:8
   |
 4 | select u.user_id as id, u.email
   |        ^^^^^^^^^ expected a column named `user_id`
  columns: `id`, `email`
hint: alias it `as user_id`
"
    );
}

#[test]
fn marks_stand_under_tabs_and_wide_characters() {
    assert_eq!(
        plain(&at("\tselect '東京' as wrong", "wrong")),
        "\
error[Q03]: something is wrong
  --> queries/a.sql:1:17
   |
 1 |     select '東京' as wrong
   |                      ^^^^^
"
    );
    assert_eq!(
        plain(&at("select '東京' as x", "東京")),
        "\
error[Q03]: something is wrong
  --> queries/a.sql:1:9
   |
 1 | select '東京' as x
   |         ^^^^
"
    );
}

#[test]
fn a_mark_over_several_lines_ends_with_the_first() {
    let text = format!("{}select 1,\r\n  2 from t", "\n".repeat(11));
    assert_eq!(
        plain(&at(&text, "1,\r\n  2").label("here\nand here")),
        "\
error[Q03]: something is wrong
   --> queries/a.sql:12:8
    |
 12 | select 1,
    |        ^^ here
    |        and here
"
    );
}

#[test]
fn a_mark_of_no_length_and_one_past_the_end_are_one_caret() {
    let source = Source::new("q.sql", "select");
    for (span, line) in [(6..6, "         ^"), (2..2, "     ^"), (90..99, "         ^")] {
        let finding = Finding::error("Q01", "cut short").at(&source, Some(span));
        assert!(plain(&finding).ends_with(&format!(" 1 | select\n   |{}\n", &line[2..])));
    }
    let after = Source::new("q.sql", "select\n");
    let finding = Finding::error("Q01", "cut short").at(&after, Some(7..7));
    assert!(plain(&finding).ends_with("  --> q.sql:2:1\n   |\n 2 |\n   | ^\n"));
}

#[test]
fn of_a_long_line_the_part_around_the_mark_is_shown() {
    let text = format!("select {} wrong {}", "a, ".repeat(100), "b, ".repeat(100));
    let shown = plain(&at(&text, "wrong"));
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[3].starts_with(" 1 | …") && lines[3].ends_with('…'), "{shown}");
    let caret = lines[4].find("^^^^^").unwrap();
    let column = lines[3].chars().take_while(|it| *it != 'w').count();
    assert_eq!(caret, column, "{shown}");
}

#[test]
fn a_file_without_a_span_is_named_alone() {
    let finding = Finding::warning("T02", "the table `x` is empty")
        .at(&Source::new("sample_data/x.csv", ""), None);
    assert_eq!(plain(&finding), "warning[T02]: the table `x` is empty\n  --> sample_data/x.csv\n");
}

#[test]
fn several_findings_are_counted() {
    let error = || Finding::error("P02", "first");
    let warning = || Finding::warning("P03", "second");
    assert_eq!(
        render(&[error(), error()], Paint::Plain),
        "error[P02]: first\n\nerror[P02]: first\n\nerror: 2 findings\n"
    );
    let mixed = render(&[error(), warning(), warning()], Paint::Plain);
    assert!(mixed.ends_with("\n\n1 error, 2 warnings\n"), "{mixed}");
    let warnings = render(&[warning(), warning()], Paint::Plain);
    assert!(warnings.ends_with("\n\n2 warnings\n"), "{warnings}");
}

#[test]
fn what_is_quoted_cannot_steer_the_terminal() {
    let shown = plain(&at("select \u{1b}[2J wrong", "wrong"));
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn colour_changes_nothing_but_colour() {
    let finding = at("select wrong", "wrong").label("this").note("a note").hint("a hint");
    let coloured = render(std::slice::from_ref(&finding), Paint::Colour);
    let mut stripped = String::new();
    let mut parts = coloured.split('\u{1b}');
    stripped.push_str(parts.next().unwrap());
    for part in parts {
        stripped.push_str(part.split_once('m').unwrap().1);
    }
    assert_eq!(stripped, plain(&finding));
    assert_ne!(coloured, stripped);
}

#[test]
fn programs_get_every_part_of_a_finding() {
    let findings = [
        at("select\n  wrong", "wrong").note("a note").hint("a hint"),
        Finding::warning("P09", "no place"),
    ];
    let expected = serde_json::json!({"findings": [
        {"code": "Q03", "severity": "error", "message": "something is wrong",
         "file": "queries/a.sql", "line": 2, "column": 3, "notes": ["a note"], "hint": "a hint"},
        {"code": "P09", "severity": "warning", "message": "no place",
         "file": null, "line": null, "column": null, "notes": [], "hint": null},
    ]});
    assert_eq!(serde_json::to_value(Document::of(&findings)).unwrap(), expected);
}
