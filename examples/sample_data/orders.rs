//! Orders, made of the real purchases; invented are the hour, the status and what the CDs were.

use std::collections::BTreeMap;

use chrono::{NaiveDate, NaiveTime, TimeDelta};

use crate::dice::Dice;
use crate::{Instant, Outcome};

const PURCHASES: &str = include_str!("cdnow.txt");

/// One line of `cdnow.txt`.
struct Purchase {
    customer: u32,
    day: NaiveDate,
    quantity: u32,
    cents: i64,
}

pub(crate) struct Order {
    pub(crate) id: u32,
    pub(crate) customer: u32,
    pub(crate) ordered_at: Instant,
    pub(crate) status: &'static str,
    pub(crate) cents: i64,
    pub(crate) lines: Vec<Line>,
}

pub(crate) struct Line {
    pub(crate) category: &'static str,
    pub(crate) quantity: i32,
    pub(crate) cents: i64,
}

/// In the order in which they came in, and numbered so.
pub(crate) fn orders() -> Outcome<Vec<Order>> {
    let mut orders = Vec::new();
    for (row, line) in (0..).zip(PURCHASES.lines()) {
        orders.push(order(row, &purchase(line)?));
    }
    orders.sort_by_key(|order| (order.ordered_at, order.customer));
    for (id, order) in (100_001..).zip(&mut orders) {
        order.id = id;
    }
    Ok(orders)
}

fn purchase(line: &str) -> Outcome<Purchase> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, customer, day, quantity, dollars] = words[..] else {
        return Err(format!("expected five columns in `{line}`").into());
    };
    Ok(Purchase {
        customer: customer.parse()?,
        day: NaiveDate::parse_from_str(day, "%Y%m%d")?,
        quantity: quantity.parse()?,
        cents: dollars.replace('.', "").parse()?,
    })
}

fn order(row: u32, purchase: &Purchase) -> Order {
    let mut dice = Dice::about("order", row);
    let opening = purchase.day.and_time(NaiveTime::MIN).and_utc() + TimeDelta::hours(7);
    Order {
        id: 0,
        customer: purchase.customer,
        ordered_at: opening + dice.seconds(0, 16 * 3600),
        status: match dice.below(100) {
            0..94 => "completed",
            94..97 => "refunded",
            _ => "cancelled",
        },
        cents: purchase.cents,
        lines: lines(purchase, &mut dice),
    }
}

/// Six CDs of ten are of the customer's favourite category; each has its own price.
fn lines(purchase: &Purchase, dice: &mut Dice) -> Vec<Line> {
    let favourite = Dice::about("taste", purchase.customer).category();
    let mut basket: BTreeMap<&str, (i32, i64)> = BTreeMap::new();
    for _ in 0..purchase.quantity {
        let category = if dice.chance(60) { favourite } else { dice.category() };
        let (quantity, price) = basket.entry(category).or_default();
        *quantity += 1;
        *price += i64::from(80 + dice.below(41));
    }
    share_out(purchase.cents, basket)
}

/// Shares the dollars out by price. What is rounded is the running sum: lines add up to the cent.
fn share_out(cents: i64, basket: BTreeMap<&'static str, (i32, i64)>) -> Vec<Line> {
    let price_of_all: i64 = basket.values().map(|(_, price)| price).sum();
    let mut price_so_far = 0;
    let mut cents_so_far = 0;
    let line = |(category, (quantity, price))| {
        price_so_far += price;
        let cents_before = cents_so_far;
        cents_so_far = cents * price_so_far / price_of_all;
        Line { category, quantity, cents: cents_so_far - cents_before }
    };
    basket.into_iter().map(line).collect()
}
