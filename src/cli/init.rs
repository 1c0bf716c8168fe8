//! `init`: a small working project to start from.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::Context;
use super::errors::Failure;
use crate::finding::Finding;

/// What is written, relative to the new folder.
const FILES: [(&str, &str); 10] = [
    ("muster.toml", include_str!("template/muster.toml")),
    (".gitignore", include_str!("template/gitignore")),
    ("queries/identifiers.sql", include_str!("template/identifiers.sql")),
    ("queries/profiles.sql", include_str!("template/profiles.sql")),
    ("queries/traits/total_revenue.sql", include_str!("template/total_revenue.sql")),
    ("queries/audiences/first_time_shopper.sql", include_str!("template/first_time_shopper.sql")),
    ("queries/audiences/big_spenders.sql", include_str!("template/big_spenders.sql")),
    ("sample_data/users.csv", include_str!("template/users.csv")),
    ("sample_data/user_emails.csv", include_str!("template/user_emails.csv")),
    ("sample_data/orders.csv", include_str!("template/orders.csv")),
];

pub(super) fn init(context: &Context, folder: &Path) -> Result<u8, Failure> {
    if folder.join("muster.toml").exists() {
        let message = format!("`{}` already holds a project", folder.display());
        return Err(Finding::error("P08", message).hint("choose another folder").into());
    }
    for (name, text) in FILES {
        let path = folder.join(name);
        write(&path, text).map_err(|error| {
            Finding::error("K02", format!("could not write `{}`", path.display()))
                .note(error.to_string())
        })?;
    }
    if context.printer.is_json() {
        let files: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        context.printer.json(&serde_json::json!({ "project": folder, "files": files }))?;
        return Ok(0);
    }
    let shown = folder.display();
    context.printer.print(&format!(
        "wrote a project into `{shown}`\n\nnext:\n  cd {shown}\n  muster check      finds what is wrong\n  \
         muster plan       says what would be sent\n  muster run        sends it: into `out/`, one file per sync"
    ))?;
    Ok(0)
}

/// Never overwrites: what is there is the user's.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::File::create_new(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        file => file?.write_all(text.as_bytes()),
    }
}
