//! The lake as tables: every file and folder of the data folder by its name, and what `[tables]` adds.
//! A table is opened when a query first names it, so that a broken one stops only who needs it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};

use super::error::{EngineError, first_line, plain};
use super::parquet_format::Parquet;
use super::session::Session;
use crate::finding::Finding;
use crate::project::{Project, TableFormat};

/// Where each table lies; nothing is opened yet.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    tables: BTreeMap<String, Location>,
    /// Problems with the data folder itself.
    pub findings: Vec<Finding>,
}

#[derive(Debug, Clone)]
struct Location {
    path: PathBuf,
    format: Option<TableFormat>,
    partitions: Vec<String>,
}

/// How the files of one table are read.
struct Reading {
    format: Arc<dyn FileFormat>,
    extension: String,
}

impl Tables {
    /// Lists the data folder and `[tables]`; the latter win.
    pub fn of(project: &Project) -> Self {
        let mut tables = Self::default();
        if let Some(data) = &project.data {
            tables.list(data);
        }
        for (name, table) in &project.tables {
            let location = Location {
                path: table.path.clone(),
                format: table.format,
                partitions: table.partitions.clone(),
            };
            tables.tables.insert(name.clone(), location);
        }
        tables
    }

    fn list(&mut self, folder: &Path) {
        // A data folder that cannot be read is a finding of the project loader.
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let Some(name) = table_name(&path) else { continue };
            let location = Location { path: path.clone(), format: None, partitions: Vec::new() };
            if let Some(other) = self.tables.insert(name.clone(), location) {
                let message = format!("two entries of the data folder are the table `{name}`");
                self.findings.push(
                    Finding::error("T02", message)
                        .note(format!("`{}` and `{}`", other.path.display(), path.display()))
                        .hint("rename one of them"),
                );
            }
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.tables.contains_key(name)
    }

    /// Where a table lies, and how it is read.
    pub fn place(&self, name: &str) -> Option<(&Path, String)> {
        let location = self.tables.get(name)?;
        let reading = format!("{:?} {:?}", location.format, location.partitions);
        Some((&location.path, reading))
    }

    /// Opens a table: reads as much of its files as it takes to know the columns.
    pub async fn open(
        &self,
        session: &Session,
        name: &str,
    ) -> Result<Option<Arc<dyn TableProvider>>, EngineError> {
        let Some(location) = self.tables.get(name) else { return Ok(None) };
        let reading = reading(location).ok_or_else(|| {
            let reason = match location.path.exists() {
                true => "no file with a known ending (.parquet, .csv, .ndjson, .json, .arrow)",
                false => "there is no such file or folder",
            };
            damaged(name, &location.path, reason)
        })?;
        match listing(session, location, reading).await {
            Ok(table) => Ok(Some(table)),
            Err(error) => Err(match damaged_file(&location.path) {
                Some((path, reason)) => damaged(name, &path, &reason),
                None => damaged(name, &location.path, &first_line(&plain(&error))),
            }),
        }
    }
}

fn damaged(name: &str, path: &Path, reason: &str) -> EngineError {
    Finding::error("T01", format!("table `{name}` cannot be read"))
        .note(format!("`{}`: {reason}", path.display()))
        .hint("replace the damaged file, or take it out of the data folder")
        .into()
}

/// Which Parquet file of a folder does not hold, so that nobody has to search.
fn damaged_file(path: &Path) -> Option<(PathBuf, String)> {
    if path.is_dir() {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(path).ok()?.flatten().map(|entry| entry.path()).collect();
        entries.sort();
        return entries.iter().find_map(|entry| damaged_file(entry));
    }
    let name = path.file_name()?.to_str()?;
    if format_of(name) != Some(TableFormat::Parquet) {
        return None;
    }
    let error = super::files::footer(path).err()?;
    let reason = error.finding().notes.first().cloned().unwrap_or_default();
    Some((path.to_owned(), reason))
}

/// The table an entry of the data folder is, if it is one: hidden files and unknown endings are not.
fn table_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    if name.starts_with(['.', '_']) {
        return None;
    }
    if path.is_dir() {
        return Some(name.to_owned());
    }
    format_of(name)?;
    name.split('.').next().filter(|stem| !stem.is_empty()).map(ToOwned::to_owned)
}

fn format_of(name: &str) -> Option<TableFormat> {
    let (plain, _) = compression_of(name);
    match Path::new(plain).extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "parquet" | "pq" => Some(TableFormat::Parquet),
        "csv" => Some(TableFormat::Csv),
        "ndjson" | "jsonl" | "json" => Some(TableFormat::Ndjson),
        "arrow" | "ipc" | "feather" => Some(TableFormat::Arrow),
        _ => None,
    }
}

fn compression_of(name: &str) -> (&str, FileCompressionType) {
    let endings = [
        (".gz", FileCompressionType::GZIP),
        (".bz2", FileCompressionType::BZIP2),
        (".xz", FileCompressionType::XZ),
        (".zst", FileCompressionType::ZSTD),
    ];
    endings
        .into_iter()
        .find_map(|(ending, kind)| name.strip_suffix(ending).map(|plain| (plain, kind)))
        .unwrap_or((name, FileCompressionType::UNCOMPRESSED))
}

fn reading(location: &Location) -> Option<Reading> {
    let sample =
        if location.path.is_dir() { first_file(&location.path)? } else { location.path.clone() };
    let name = sample.file_name()?.to_str()?;
    let (plain, compression) = compression_of(name);
    let extension = format!(".{}", Path::new(plain).extension()?.to_str()?);
    let format: Arc<dyn FileFormat> = match location.format.or_else(|| format_of(name))? {
        TableFormat::Parquet => Arc::new(Parquet::default()),
        TableFormat::Csv => Arc::new(
            CsvFormat::default().with_has_header(true).with_file_compression_type(compression),
        ),
        TableFormat::Ndjson => {
            Arc::new(JsonFormat::default().with_file_compression_type(compression))
        }
        TableFormat::Arrow => Arc::new(ArrowFormat),
    };
    let extension = name.rfind(&extension).map_or(extension.clone(), |at| name[at..].to_owned());
    Some(Reading { format, extension })
}

/// The first file below a folder with a known ending, in name order.
fn first_file(folder: &Path) -> Option<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter().find_map(|path| {
        let name = path.file_name()?.to_str()?;
        match (name.starts_with(['.', '_']), path.is_dir()) {
            (true, _) => None,
            (false, true) => first_file(&path),
            (false, false) => format_of(name).map(|_| path.clone()),
        }
    })
}

async fn listing(
    session: &Session,
    location: &Location,
    reading: Reading,
) -> datafusion::error::Result<Arc<dyn TableProvider>> {
    let state = session.state();
    let folder = location.path.is_dir();
    let url = if folder {
        url::Url::from_directory_path(&location.path)
    } else {
        url::Url::from_file_path(&location.path)
    };
    let url = ListingTableUrl::try_new(url.map_err(|()| unusable(&location.path))?, None)?;
    let mut options = ListingOptions::new(reading.format).with_file_extension(reading.extension);
    let partitions = match location.partitions.is_empty() {
        false => location.partitions.clone(),
        true if folder => options.infer_partitions(&state, &url).await?,
        true => Vec::new(),
    };
    let text = DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8));
    let columns = partitions.into_iter().map(|name| (name, text.clone())).collect();
    options = options.with_table_partition_cols(columns);
    let config =
        ListingTableConfig::new(url).with_listing_options(options).infer_schema(&state).await?;
    Ok(Arc::new(ListingTable::try_new(config)?))
}

fn unusable(path: &Path) -> datafusion::error::DataFusionError {
    datafusion::error::DataFusionError::External(
        format!("`{}` is not an absolute path", path.display()).into(),
    )
}
