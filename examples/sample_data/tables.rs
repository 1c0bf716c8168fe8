//! Writes the tables: Parquet, and one CSV file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::accounts::{Account, Member};
use crate::dice::Dice;
use crate::orders::{Line, Order};
use crate::users::{Email, User, end_of_books, user_id};
use crate::web_events::Event;
use crate::{Instant, Outcome};

pub(crate) fn write_orders(folder: &Path, orders: &[Order]) -> Outcome {
    for (month, orders) in by_month(orders, |order| order.ordered_at) {
        let table = [
            ("order_id", integers(orders.iter().map(|order| i64::from(order.id)))),
            ("user_id", texts(orders.iter().map(|order| user_id(order.customer)))),
            ("ordered_at", instants(orders.iter().map(|order| order.ordered_at))),
            ("status", texts(orders.iter().map(|order| order.status))),
            ("total", dollars(orders.iter().map(|order| order.cents))?),
        ];
        write_parquet(&folder.join(format!("orders/{month}.parquet")), table)?;
    }
    Ok(())
}

pub(crate) fn write_order_lines(folder: &Path, orders: &[Order]) -> Outcome {
    let lines: Vec<(u32, i32, &Line)> = orders
        .iter()
        .flat_map(|order| (1..).zip(&order.lines).map(|(number, line)| (order.id, number, line)))
        .collect();
    let table = [
        ("order_id", integers(lines.iter().map(|(order, ..)| i64::from(*order)))),
        ("line", small_integers(lines.iter().map(|(_, number, _)| *number))),
        ("category", texts(lines.iter().map(|(.., line)| line.category))),
        ("quantity", small_integers(lines.iter().map(|(.., line)| line.quantity))),
        ("amount", dollars(lines.iter().map(|(.., line)| line.cents))?),
    ];
    write_parquet(&folder.join("order_lines.parquet"), table)
}

pub(crate) fn write_users(folder: &Path, users: &[User]) -> Outcome {
    let email = |user: &User| user.emails.first().map(|email| email.address.clone());
    let table = [
        ("user_id", texts(users.iter().map(|user| user_id(user.customer)))),
        ("email", optional_texts(users.iter().map(email))),
        ("first_name", texts(users.iter().map(|user| user.first_name))),
        ("last_name", texts(users.iter().map(|user| user.last_name))),
        ("phone", optional_texts(users.iter().map(|user| user.phone.clone()))),
        ("country", texts(users.iter().map(|user| user.country.code))),
        ("created_at", instants(users.iter().map(|user| user.created_at))),
    ];
    write_parquet(&folder.join("users.parquet"), table)
}

pub(crate) fn write_user_emails(folder: &Path, users: &[User]) -> Outcome {
    let emails: Vec<(u32, &Email)> = users
        .iter()
        .flat_map(|user| user.emails.iter().map(|email| (user.customer, email)))
        .collect();
    let table = [
        ("user_id", texts(emails.iter().map(|(customer, _)| user_id(*customer)))),
        ("email", texts(emails.iter().map(|(_, email)| email.address.as_str()))),
        ("added_at", instants(emails.iter().map(|(_, email)| email.added_at))),
    ];
    write_parquet(&folder.join("user_emails.parquet"), table)
}

pub(crate) fn write_accounts(folder: &Path, accounts: &[Account]) -> Outcome {
    let table = [
        ("account_id", texts(accounts.iter().map(|account| account.id.as_str()))),
        ("name", texts(accounts.iter().map(|account| account.name.as_str()))),
        ("plan", texts(accounts.iter().map(|account| account.plan))),
        ("seats", small_integers(accounts.iter().map(|account| account.seats))),
    ];
    write_parquet(&folder.join("accounts.parquet"), table)
}

pub(crate) fn write_account_members(folder: &Path, accounts: &[Account]) -> Outcome {
    let members: Vec<(&str, &Member)> = accounts
        .iter()
        .flat_map(|account| account.members.iter().map(|member| (account.id.as_str(), member)))
        .collect();
    let table = [
        ("account_id", texts(members.iter().map(|(account, _)| account))),
        ("user_id", texts(members.iter().map(|(_, member)| user_id(member.customer)))),
        ("role", texts(members.iter().map(|(_, member)| member.role))),
        ("joined_at", instants(members.iter().map(|(_, member)| member.joined_at))),
    ];
    write_parquet(&folder.join("account_members.parquet"), table)
}

pub(crate) fn write_web_events(folder: &Path, events: &[Event]) -> Outcome {
    let numbered: Vec<(i64, &Event)> = (1..).zip(events).collect();
    for (month, events) in by_month(&numbered, |(_, event)| event.occurred_at) {
        let table = [
            ("event_id", integers(events.iter().map(|(id, _)| *id))),
            ("user_id", texts(events.iter().map(|(_, event)| user_id(event.customer)))),
            ("name", texts(events.iter().map(|(_, event)| event.name))),
            ("category", optional_texts(events.iter().map(|(_, event)| event.category))),
            ("occurred_at", instants(events.iter().map(|(_, event)| event.occurred_at))),
        ];
        write_parquet(&folder.join(format!("web_events/month={month}/events.parquet")), table)?;
    }
    Ok(())
}

/// One faithful customer in forty has had enough of our mail, since some day of the last four months.
pub(crate) fn write_unsubscribed(folder: &Path, users: &[User]) -> Outcome {
    let mut file = File::create(folder.join("unsubscribed.csv"))?;
    writeln!(file, "user_id,since")?;
    for user in users.iter().filter(|user| user.orders >= 4) {
        let mut dice = Dice::about("unsubscribed", user.customer);
        if dice.below(40) == 0 {
            let since = end_of_books() - dice.seconds(0, 120 * 86_400);
            writeln!(file, "{},{}", user_id(user.customer), since.format("%Y-%m-%d"))?;
        }
    }
    Ok(())
}

fn by_month<T>(rows: &[T], at: impl Fn(&T) -> Instant) -> BTreeMap<String, Vec<&T>> {
    let mut months: BTreeMap<String, Vec<&T>> = BTreeMap::new();
    for row in rows {
        months.entry(at(row).format("%Y-%m").to_string()).or_default().push(row);
    }
    months
}

fn texts<T: AsRef<str>>(values: impl Iterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn optional_texts<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn integers(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn small_integers(values: impl Iterator<Item = i32>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(values))
}

fn instants(values: impl Iterator<Item = Instant>) -> ArrayRef {
    let micros = values.map(|at| at.timestamp_micros());
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
}

/// Decimals, not floats: their sums are exact in whatever order they are added.
fn dollars(cents: impl Iterator<Item = i64>) -> Outcome<ArrayRef> {
    let exact = Decimal128Array::from_iter_values(cents.map(i128::from));
    Ok(Arc::new(exact.with_precision_and_scale(10, 2)?))
}

fn write_parquet<const COLUMNS: usize>(
    path: &Path,
    columns: [(&str, ArrayRef); COLUMNS],
) -> Outcome {
    let table = RecordBatch::try_from_iter(columns)?;
    let compression = Compression::ZSTD(ZstdLevel::try_new(9)?);
    let properties = WriterProperties::builder().set_compression(compression).build();
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let mut writer = ArrowWriter::try_new(File::create(path)?, table.schema(), Some(properties))?;
    writer.write(&table)?;
    writer.close()?;
    Ok(())
}
