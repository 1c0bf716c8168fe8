//! The people who ordered: their names, countries, telephone numbers and emails.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta};

use crate::Instant;
use crate::dice::Dice;
use crate::orders::Order;
use crate::words::{COUNTRIES, FIRST_NAMES, HOME_DOMAINS, LAST_NAMES, WORK_DOMAINS};

pub(crate) struct User {
    pub(crate) customer: u32,
    pub(crate) first_name: &'static str,
    pub(crate) last_name: &'static str,
    pub(crate) country: &'static Country,
    pub(crate) phone: Option<String>,
    pub(crate) emails: Vec<Email>,
    pub(crate) created_at: Instant,
    pub(crate) orders: u32,
}

pub(crate) struct Email {
    pub(crate) address: String,
    pub(crate) added_at: Instant,
}

/// A country, how many customers in a hundred live there, and its reserved telephone numbers.
pub(crate) struct Country {
    pub(crate) code: &'static str,
    pub(crate) percent: u32,
    /// How many digits follow a prefix.
    pub(crate) digits: usize,
    pub(crate) prefixes: &'static [&'static str],
}

pub(crate) fn user_id(customer: u32) -> String {
    format!("u{customer:04}")
}

/// The last day of the shop's books, at noon.
pub(crate) fn end_of_books() -> Instant {
    DateTime::UNIX_EPOCH + TimeDelta::days(10_407) + TimeDelta::hours(12)
}

/// What is handed out once only.
#[derive(Default)]
struct Register {
    addresses: BTreeSet<String>,
    phones: BTreeMap<&'static str, usize>,
}

pub(crate) fn users(orders: &[Order]) -> Vec<User> {
    let mut first_orders: BTreeMap<u32, (Instant, u32)> = BTreeMap::new();
    for order in orders {
        first_orders.entry(order.customer).or_insert((order.ordered_at, 0)).1 += 1;
    }
    let mut register = Register::default();
    let mut users: Vec<User> = Vec::new();
    for (customer, (first_order, orders)) in first_orders {
        let user = user(customer, (first_order, orders), users.last(), &mut register);
        users.push(user);
    }
    users
}

/// One customer in three hundred lives with the one before, and shares the name and the email.
fn user(
    customer: u32,
    (first_order, orders): (Instant, u32),
    neighbour: Option<&User>,
    register: &mut Register,
) -> User {
    let mut dice = Dice::about("user", customer);
    let created_at = first_order - dice.seconds(600, 3 * 86_400);
    let first_name = dice.pick(&FIRST_NAMES);
    let partner = neighbour.filter(|_| Dice::about("household", customer).below(300) == 0);
    let last_name = partner.map_or_else(|| *dice.pick(&LAST_NAMES), |partner| partner.last_name);
    let country = partner.map_or_else(|| country(&mut dice), |partner| partner.country);
    let phone = if dice.chance(70) { register.phone(country) } else { None };
    let emails = match partner.and_then(|partner| partner.emails.first()) {
        Some(shared) => vec![Email { address: shared.address.clone(), added_at: created_at }],
        None => emails(customer, (first_name, last_name), created_at, register),
    };
    User { customer, first_name, last_name, country, phone, emails, created_at, orders }
}

fn country(dice: &mut Dice) -> &'static Country {
    let [most, others @ ..] = &COUNTRIES;
    let mut throw = dice.below(100);
    for country in others {
        if throw < country.percent {
            return country;
        }
        throw -= country.percent;
    }
    most
}

/// Four customers in a hundred have no email, ten have a second one, added later, from work.
fn emails(
    customer: u32,
    (first_name, last_name): (&str, &str),
    created_at: Instant,
    register: &mut Register,
) -> Vec<Email> {
    let mut dice = Dice::about("email", customer);
    let count = match dice.below(100) {
        0..4 => 0,
        4..14 => 2,
        _ => 1,
    };
    let (first_name, last_name) = (plain(first_name), plain(last_name));
    let initial: String = first_name.chars().take(1).collect();
    let home = (format!("{first_name}.{last_name}"), *dice.pick(&HOME_DOMAINS));
    let work = (format!("{initial}{last_name}"), *dice.pick(&WORK_DOMAINS));
    let days_left = (end_of_books() - created_at).num_days();
    let later = TimeDelta::days(1 + i64::from(dice.below(1000)) * days_left / 1000);
    [(home, created_at), (work, (created_at + later).min(end_of_books()))]
        .into_iter()
        .take(count)
        .map(|((local, domain), added_at)| Email {
            address: register.address(&local, domain, customer),
            added_at,
        })
        .collect()
}

/// A name as it may stand in an email address.
fn plain(name: &str) -> String {
    let unaccented = |letter| match letter {
        'é' | 'ë' => 'e',
        'ú' | 'ü' => 'u',
        'ñ' => 'n',
        other => other,
    };
    name.to_lowercase().chars().map(unaccented).filter(char::is_ascii_alphabetic).collect()
}

impl Register {
    fn address(&mut self, local: &str, domain: &str, customer: u32) -> String {
        let short = format!("{local}@{domain}");
        let taken = !self.addresses.insert(short.clone());
        if taken { format!("{local}{customer}@{domain}") } else { short }
    }

    /// The next number reserved for fiction there, as long as there are any.
    fn phone(&mut self, country: &'static Country) -> Option<String> {
        let Country { code, prefixes, digits, .. } = country;
        let given = self.phones.entry(code).or_default();
        let prefix = prefixes.get(*given % prefixes.len())?;
        let round = *given / prefixes.len();
        let block = if *digits == 2 { 100 } else { 1000 };
        if round >= block {
            return None;
        }
        let number = round * 37 % block;
        *given += 1;
        Some(format!("{prefix}{number:0digits$}"))
    }
}
