//! Slips, and what is said of each: code, line and way out.

use super::*;

/// What was written, and the findings about it.
type Slip = (&'static str, &'static [(&'static str, usize, &'static str)]);

const CREATE: &str = "create it, or correct the path: it is relative to `muster.toml`";
const TOML: &str = "write `key = value`, with strings in quotes; see https://toml.io";

const IN_MUSTER_TOML: &[Slip] = &[
    ("name = 'x'", &[("P03", 1, "put `name` under `[project]`")]),
    ("[user]\nkey = 'id'", &[("P03", 1, "did you mean `users`?")]),
    ("[colours]", &[("P03", 1, "remove it, or use one of the known keys")]),
    ("[project]\nquerys = 'x'", &[("P03", 2, "did you mean `queries`?")]),
    ("[project]\nname = 5", &[("P04", 2, "write it like `name = \"…\"`")]),
    ("[project]\nname = ' '", &[("P04", 2, "write it like `name = \"…\"`")]),
    ("[project]\nmemory_limit = 4", &[("P04", 2, "write it like `memory_limit = \"4GB\"`")]),
    ("[project]\nmemory_limit = '0GB'", &[("P04", 2, "write it like `memory_limit = \"4GB\"`")]),
    ("project = 1", &[("P04", 1, "write it like `project = { … }`")]),
    (
        "[project]\nstate = 's3://bucket/state'",
        &[("P04", 2, "write a path on this machine, relative to `muster.toml`")],
    ),
    ("[project]\n\ndata = 'lake'", &[("P05", 3, CREATE)]),
    ("[project]\ndata = 'muster.toml'", &[("P05", 2, CREATE)]),
    ("[users]\nidentifiers = 'queries/ids.sql'", &[("P05", 2, CREATE)]),
    ("[accounts]\nmembers = 'queries'", &[("P05", 2, CREATE)]),
    ("[tables]\norders = 7", &[("P04", 2, "write it like `orders = { path = \"lake/orders/\" }`")]),
    (
        "[tables]\norders = { format = 'parket' }",
        &[
            ("P04", 2, "add a file or folder, such as `path = \"lake/orders/\"`"),
            ("P04", 2, "write it like `format = \"parquet\"`"),
        ],
    ),
    (
        "[tables]\norders = { path = 'x', partitions = 'day' }",
        &[("P04", 2, "write it like `partitions = [\"…\"]`")],
    ),
    (
        "[destinations]\ncrm = 'webhook'",
        &[("P04", 2, "write it like `crm = { type = \"webhook\" }`")],
    ),
    (
        "[destinations.crm]\nurl = 'x'",
        &[("P04", 1, "add a `type`; `muster destinations` lists them")],
    ),
    ("[destinations.'c r m']\ntype = 'file'", &[("P04", 1, "call it `[destinations.c_r_m]`")]),
    (
        "[destinations.crm]\ntype = 'file'\nlimit = 99999999999999999999",
        &[("P04", 3, "write a smaller number, or a string")],
    ),
    (
        "[destinations.crm]\ntype = 'webhook'\nheaders = { A = '${GONE}', B = '${GONE}' }",
        &[("X01", 3, "export GONE=…")],
    ),
    (
        "[destinations.crm]\ntype = 'webhook'\nurls = [\n'x${EMPTY}']",
        &[("X01", 4, "export EMPTY=…")],
    ),
    (
        "[destinations.crm]\ntype = 'webhook'\nurl = '${TOKEN'",
        &[("X02", 3, "write `${NAME}` for a variable, `$${` for a plain `${`")],
    ),
    ("[project]\nname = acme\n[users]\nkey =\n", &[("P02", 2, TOML), ("P02", 4, TOML)]),
    (
        "[users]\nkey = 'id'\n[accounts]\nkey = 'id'",
        &[("P04", 4, "name one of them differently, and alias it in the models")],
    ),
];

const IN_A_HEADER: &[Slip] = &[
    ("-- note\n/*\n[audience]\nnam = 'x'\n*/", &[("H02", 4, "did you mean `name`?")]),
    ("/*\n[audience]\nname = 7\n*/", &[("H03", 3, "write it like `name = \"…\"`")]),
    ("/*\n[audience]\nname = 'x\n\n*/", &[("H01", 3, TOML)]),
    ("/*\n[audience]\n[sync]\n*/", &[("H02", 3, "remove it, or use one of the known keys")]),
    (
        "/*\n[audience]\nname = '!?'\n*/",
        &[("H03", 3, "set `name` in the header, such as `name = \"First time shopper\"`")],
    ),
    (
        "/*\n[trait]\n*/",
        &[("H06", 2, "move the file to `traits/`, or start its header with `[audience]`")],
    ),
    ("/*\n[audeince]\n*/", &[("H06", 2, "did you mean `[audience]`?")]),
    ("/* licence */\n/*\n[audience]\n*/", &[("H06", 3, "move it to the top of the file")]),
    (
        "/*\n[audience]\ndescription = 'lake/*.csv'\n*/",
        &[("H01", 3, "a `/*` inside a comment opens another one: write it differently")],
    ),
    ("/*\n[audience]\n", &[("H01", 1, "end the comment with `*/` before the query starts")]),
    ("/*\n[audience]\nsync = 'crn'\n*/", &[("S01", 3, "did you mean `crm`?")]),
    (
        "/*\n[audience]\nsync = ['crm',\n{ to = 'braze' }]\n*/",
        &[("S01", 4, "add `[destinations.braze]` to `muster.toml`")],
    ),
    (
        "/*\n[audience]\nsync = ['crm',\n'crm']\n*/",
        &[("H05", 4, "configure a second destination under another name")],
    ),
    (
        "/*\n[audience]\nsync = 5\n*/",
        &[("H03", 3, "write it like `sync = [\"crm\", { to = \"ads\" }]`")],
    ),
    (
        "/*\n[audience]\nsync = [5]\n*/",
        &[("H03", 3, "write it like `sync = [\"crm\", { to = \"ads\" }]`")],
    ),
    (
        "/*\n[audience]\nsync = { as = 'track' }\n*/",
        &[("H03", 3, "add the name of a configured destination, such as `to = \"crm\"`")],
    ),
    (
        "/*\n[audience]\nsync = { to = 'crm', evry = '6h' }\n*/",
        &[("H02", 3, "did you mean `every`?")],
    ),
    (
        "/*\n[audience]\nsync = { to = 'crm', every = '6 hours' }\n*/",
        &[("H03", 3, "write it like `every = \"10m\"`")],
    ),
    (
        "/*\n[audience]\nsync = { to = 'crm', as = 'tracks' }\n*/",
        &[("H03", 3, "write it like `as = \"track\"`")],
    ),
    ("/*\n[audience]\nsync = { to = 'crm', event = 'x' }\n*/", &[("H03", 3, "remove `event`")]),
    (
        "/*\n[audience]\nsync = { to = 'crm', on_missing = 'keep' }\n*/",
        &[("H03", 3, "remove `on_missing`")],
    ),
    (
        "/*\n[audience]\nsync = { to = 'crm', identifiers = { emails = 'all' } }\n*/",
        &[("H02", 3, "did you mean `email`?")],
    ),
    (
        "/*\n[audience]\nsync = { to = 'crm', fields = { a = 1 } }\n*/",
        &[("H03", 3, "write it like `a = \"…\"`")],
    ),
    (
        "/*\n[audience]\nsync = { to = 'crm', guard = true }\n*/",
        &[("H03", 3, "write it like `guard = { max_exit = \"5%\" }`")],
    ),
    (
        "/*\n[audience]\nsync = { to = 'crm', guard = { max_exit = 0.5 } }\n*/",
        &[("H03", 3, "write it like `max_exit = \"5%\"`")],
    ),
    (
        "/*\n[audience]\nsync = { to = 'crm', guard = { min_size = -1 } }\n*/",
        &[("H03", 3, "write it like `min_size = 1000`")],
    ),
];

fn expected(
    file: &str,
    findings: &[(&'static str, usize, &'static str)],
) -> Vec<(&'static str, String, usize, &'static str)> {
    findings.iter().map(|(code, line, hint)| (*code, file.to_owned(), *line, *hint)).collect()
}

#[test]
fn every_slip_in_muster_toml_has_a_place_and_a_way_out() {
    for (toml, findings) in IN_MUSTER_TOML {
        let project = Folder::new(toml).with("queries/traits/t.sql", MODEL).load();
        assert_eq!(facts(&project), expected(FILE, findings), "{toml}");
        assert!(project.has_errors());
    }
}

#[test]
fn every_slip_in_a_header_has_a_place_in_the_sql_file() {
    for (header, findings) in IN_A_HEADER {
        for line_end in ["\n", "\r\n"] {
            let sql = format!("{header}\n{QUERY}").replace('\n', line_end);
            let project = Folder::new(CRM).with("queries/audiences/a.sql", &sql).load();
            assert_eq!(facts(&project), expected("queries/audiences/a.sql", findings), "{sql}");
        }
    }
}
