//! The lake: users, their email addresses and their orders, the same bytes on every machine.
//!
//! Every value is a hash of what it is and a number. One user in a hundred orders once more in
//! `churn.parquet`, which joins the orders to make a day's changes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::options::Stage;
use crate::{Outcome, say};

/// Rows written at once.
const BATCH: u64 = 64 << 10;
/// Rows of one file of orders.
const FILE: u64 = 5_000_000;
/// 2026-11-01T00:00:00Z, in microseconds: nothing is ordered later.
const END: i64 = 1_793_491_200_000_000;
const YEAR: u64 = 365 * 24 * 3600;
const CATEGORIES: [&str; 12] = [
    "books", "music", "films", "games", "garden", "kitchen", "tools", "toys", "sports", "shoes",
    "coats", "tea",
];
const COUNTRIES: [&str; 8] = ["AT", "BR", "DE", "FR", "IN", "JP", "NG", "US"];

type SendError = Box<dyn std::error::Error + Send + Sync>;

/// The folder of a lake of these sizes.
#[derive(Debug, Clone)]
pub struct Lake {
    pub users: u64,
    pub folder: PathBuf,
}

impl Lake {
    /// Makes the lake unless it is there.
    pub fn of(stage: &Stage, users: u64, orders: u64) -> Outcome<Self> {
        let folder = stage.folder.join(format!("lake-{users}-{orders}"));
        let lake = Self { users, folder };
        let complete = lake.folder.join("complete");
        if !complete.exists() {
            say(&format!("making {users} users and {orders} orders in {}", lake.folder.display()));
            lake.make(orders).map_err(|error| error.to_string())?;
            File::create(complete)?;
        }
        drop(std::fs::remove_file(lake.churned()));
        Ok(lake)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn churned(&self) -> PathBuf {
        self.folder.join("orders/churn.parquet")
    }

    /// The next day: one user in a hundred has ordered again.
    pub fn churn(&self) -> Outcome {
        std::fs::copy(self.path("churn.parquet"), self.churned())?;
        Ok(())
    }

    /// The first day again.
    pub fn settle(&self) -> Outcome {
        Ok(std::fs::remove_file(self.churned())?)
    }

    fn make(&self, orders: u64) -> Result<(), SendError> {
        std::fs::create_dir_all(self.path("orders"))?;
        write(&self.path("users.parquet"), 0..self.users, users)?;
        write(&self.path("emails.parquet"), 0..self.users + self.users / 2, emails)?;
        let files: Vec<u64> = (0..orders.div_ceil(FILE)).collect();
        let file = |file: u64| {
            let rows = file * FILE..orders.min((file + 1) * FILE);
            let path = self.path(&format!("orders/part-{file:03}.parquet"));
            write(&path, rows, |row| order(row, hash("buyer", row) % self.users))
        };
        std::thread::scope(|scope| {
            let halves = [0, 1].map(|half| {
                let mine = files.iter().copied().filter(move |file| file % 2 == half);
                scope.spawn(move || {
                    let mut mine = mine;
                    mine.try_for_each(file)
                })
            });
            halves.into_iter().try_for_each(|half| half.join().map_err(|_| "a writer stopped")?)
        })?;
        let again = |row: u64| order(orders + row, row * 100 % self.users);
        write(&self.path("churn.parquet"), 0..self.users.div_ceil(100), again)
    }
}

#[expect(clippy::cast_possible_wrap, clippy::cast_precision_loss, reason = "small numbers")]
fn order(row: u64, user: u64) -> Order {
    // Some buy of one category only, some of all.
    let width = hash("width", user) % CATEGORIES.len() as u64 + 1;
    Order {
        id: row as i64,
        user: user_id(user),
        at: END - (hash("day", row) % YEAR) as i64 * 1_000_000,
        category: usize::try_from(hash("category", row) % width).unwrap_or(0),
        amount: (hash("amount", row) % 20_000) as f64 / 100.0,
        status: usize::from(hash("status", row).is_multiple_of(10)),
    }
}

/// What is written as a table.
trait Record: Sized {
    fn columns(rows: &[Self]) -> Result<RecordBatch, SendError>;
}

struct User(u64);

struct Email(u64);

struct Order {
    id: i64,
    user: String,
    at: i64,
    category: usize,
    amount: f64,
    status: usize,
}

fn users(row: u64) -> User {
    User(row)
}

/// Every user has one, every second user two.
fn emails(row: u64) -> Email {
    Email(row)
}

fn user_id(user: u64) -> String {
    format!("u{user:09}")
}

impl Record for User {
    fn columns(rows: &[Self]) -> Result<RecordBatch, SendError> {
        let ids: StringArray = rows.iter().map(|user| Some(user_id(user.0))).collect();
        let countries = rows
            .iter()
            .map(|user| Some(COUNTRIES[usize::try_from(hash("country", user.0) % 8).unwrap_or(0)]));
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let scores = rows.iter().map(|user| Some((hash("score", user.0) % 1000) as f64 / 10.0));
        Ok(RecordBatch::try_from_iter([
            ("user_id", Arc::new(ids) as ArrayRef),
            ("country", Arc::new(countries.collect::<StringArray>())),
            ("score", Arc::new(scores.collect::<Float64Array>())),
        ])?)
    }
}

impl Record for Email {
    fn columns(rows: &[Self]) -> Result<RecordBatch, SendError> {
        // Rows 0, 1, 2 are the two of user 0 and the one of user 1, and so on.
        let owner = |row: u64| row / 3 * 2 + u64::from(row % 3 == 2);
        let ids: StringArray = rows.iter().map(|email| Some(user_id(owner(email.0)))).collect();
        let host = |row: u64| if row % 3 == 1 { "example.net" } else { "example.org" };
        let values =
            rows.iter().map(|email| Some(format!("user{}@{}", owner(email.0), host(email.0))));
        let kinds = rows.iter().map(|_| Some("email"));
        Ok(RecordBatch::try_from_iter([
            ("user_id", Arc::new(ids) as ArrayRef),
            ("type", Arc::new(kinds.collect::<StringArray>())),
            ("value", Arc::new(values.collect::<StringArray>())),
        ])?)
    }
}

impl Record for Order {
    fn columns(rows: &[Self]) -> Result<RecordBatch, SendError> {
        let words = |words: &[&str], get: fn(&Self) -> usize| -> ArrayRef {
            let words = rows.iter().map(|order| words[get(order)]);
            Arc::new(StringArray::from_iter_values(words))
        };
        let ids = rows.iter().map(|order| order.id);
        let users = rows.iter().map(|order| Some(order.user.as_str()));
        let times = rows.iter().map(|order| order.at);
        let amounts = rows.iter().map(|order| order.amount);
        Ok(RecordBatch::try_from_iter([
            ("order_id", Arc::new(ids.collect::<Int64Array>()) as ArrayRef),
            ("user_id", Arc::new(users.collect::<StringArray>())),
            ("ordered_at", Arc::new(TimestampMicrosecondArray::from_iter_values(times))),
            ("category", words(&CATEGORIES, |order| order.category)),
            ("amount", Arc::new(amounts.collect::<Float64Array>())),
            ("status", words(&["completed", "returned"], |order| order.status)),
        ])?)
    }
}

fn write<R: Record>(
    path: &Path,
    rows: std::ops::Range<u64>,
    row: impl Fn(u64) -> R,
) -> Result<(), SendError> {
    let mut writer: Option<ArrowWriter<File>> = None;
    let mut next = rows.start;
    while next < rows.end {
        let end = rows.end.min(next + BATCH);
        let batch = R::columns(&(next..end).map(&row).collect::<Vec<_>>())?;
        next = end;
        if writer.is_none() {
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
                .build();
            let file = File::create(path)?;
            writer = Some(ArrowWriter::try_new(file, batch.schema(), Some(properties))?);
        }
        if let Some(writer) = &mut writer {
            writer.write(&batch)?;
        }
    }
    writer.map(ArrowWriter::close).transpose()?;
    Ok(())
}

/// A number that depends on nothing but its topic and its place: splitmix64.
fn hash(topic: &str, place: u64) -> u64 {
    let seed = topic.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |seed, byte| {
        (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut word = seed ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
