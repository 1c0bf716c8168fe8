//! Makes `sample_data/`, the lake of a small CD shop which the project at the root of this
//! repository reads: `cargo run --example sample_data [FOLDER]`.
//!
//! Who bought when, how many CDs and for how many dollars is real: `cdnow.txt` is the published
//! one-in-ten sample of the CDNOW customer base, 6,919 purchases by 2,357 customers from January
//! 1997 to June 1998 (this copy from `PyPI`, `Lifetimes` 0.11.3, MIT). Its columns are the customer's
//! number in the full set, the number in the sample, the day, CDs and dollars.
//!
//! It knows no names, emails, accounts or visits, so those are invented, with dice whose seed is
//! a topic and a number. Every run writes the same bytes, and a change to one topic leaves the
//! others as they were. Domains and telephone numbers are reserved ones: they reach nobody.

mod accounts;
mod dice;
mod orders;
mod tables;
mod users;
mod web_events;
mod words;

use std::error::Error;
use std::path::PathBuf;

use chrono::{DateTime, Utc};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;
type Instant = DateTime<Utc>;

const DEFAULT_FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sample_data");

fn main() -> Outcome {
    let folder = std::env::args_os().nth(1).map_or_else(|| DEFAULT_FOLDER.into(), PathBuf::from);
    let orders = orders::orders()?;
    let users = users::users(&orders);
    let accounts = accounts::accounts(&users);
    let events = web_events::events(&orders, &users);

    tables::write_orders(&folder, &orders)?;
    tables::write_order_lines(&folder, &orders)?;
    tables::write_users(&folder, &users)?;
    tables::write_user_emails(&folder, &users)?;
    tables::write_accounts(&folder, &accounts)?;
    tables::write_account_members(&folder, &accounts)?;
    tables::write_web_events(&folder, &events)?;
    tables::write_unsubscribed(&folder, &users)
}
