//! Projects of Muster, written for one row each.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::data::Lake;
use crate::options::Stage;

/// A project's folder, without a state.
#[derive(Debug)]
pub struct Project {
    pub folder: PathBuf,
    settings: String,
}

impl Project {
    pub fn new(stage: &Stage, name: &str) -> Outcome<Self> {
        let folder = stage.folder.join("projects").join(name);
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(folder.join("queries/traits"))?;
        let mut settings = format!("[project]\nname = \"{name}\"\n");
        if let Some(limit) = &stage.options.memory_limit {
            let _ = writeln!(settings, "memory_limit = \"{limit}\"");
        }
        let project = Self { folder, settings };
        project.save()?;
        Ok(project)
    }

    /// One over the lake, with everybody's emails.
    pub fn over(stage: &Stage, name: &str, lake: &Lake) -> Outcome<Self> {
        let mut project = Self::new(stage, name)?;
        project.table("users", &lake.path("users.parquet"))?;
        project.table("emails", &lake.path("emails.parquet"))?;
        project.table("orders", &lake.path("orders"))?;
        project.query("identifiers", "SELECT user_id, type, value FROM emails")?;
        project
            .settings
            .push_str("[users]\nkey = \"user_id\"\nidentifiers = \"queries/identifiers.sql\"\n");
        project.save()?;
        Ok(project)
    }

    pub fn table(&mut self, name: &str, path: &Path) -> Outcome {
        let path = path.display();
        let _ = writeln!(self.settings, "[tables.{name}]\npath = \"{path}\"\nformat = \"parquet\"");
        self.save()
    }

    /// A destination called `sink`.
    pub fn sink(&mut self, url: &str, options: &str) -> Outcome {
        let _ = writeln!(
            self.settings,
            "[destinations.sink]\ntype = \"webhook\"\nurl = \"{url}\"\n{options}"
        );
        self.save()
    }

    pub fn computed_trait(&self, key: &str, sql: &str) -> Outcome {
        let sync = self.sync();
        self.query(
            &format!("traits/{key}"),
            &format!("/*\n[trait]\nname = \"{key}\"\n{sync}*/\n{sql}\n"),
        )
    }

    fn sync(&self) -> &'static str {
        if self.settings.contains("[destinations.sink]") { "sync = [\"sink\"]\n" } else { "" }
    }

    fn query(&self, name: &str, text: &str) -> Outcome {
        Ok(std::fs::write(self.folder.join(format!("queries/{name}.sql")), text)?)
    }

    fn save(&self) -> Outcome {
        Ok(std::fs::write(self.folder.join("muster.toml"), &self.settings)?)
    }

    /// Nothing was ever delivered.
    pub fn forget(&self) -> Outcome {
        match std::fs::remove_dir_all(self.folder.join(".muster")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}
