//! The log of the shop's web site: the clicks before each order, and visits without one.

use chrono::{DateTime, TimeDelta};

use crate::Instant;
use crate::dice::Dice;
use crate::orders::Order;
use crate::users::User;

pub(crate) struct Event {
    pub(crate) customer: u32,
    pub(crate) name: &'static str,
    pub(crate) category: Option<&'static str>,
    pub(crate) occurred_at: Instant,
}

/// The web log begins with 1998.
pub(crate) fn events(orders: &[Order], users: &[User]) -> Vec<Event> {
    let beginning = DateTime::UNIX_EPOCH + TimeDelta::days(10_227);
    let bought =
        orders.iter().filter(|order| order.ordered_at >= beginning).flat_map(purchase_visit);
    let browsed = users.iter().flat_map(|user| browsing(user, beginning));
    let mut events: Vec<Event> = bought.chain(browsed).collect();
    events.sort_by_key(|event| (event.occurred_at, event.customer));
    events
}

/// The clicks that led to an order: each category is looked at and put in the cart.
fn purchase_visit(order: &Order) -> Vec<Event> {
    let mut dice = Dice::about("purchase visit", order.id);
    let mut clicks = vec![("order_completed", None)];
    for line in &order.lines {
        clicks.push(("cart_added", Some(line.category)));
        clicks.push(("product_viewed", Some(line.category)));
    }
    clicks.push(("page_viewed", None));
    let mut occurred_at = order.ordered_at;
    let mut event = |(name, category)| {
        let event = Event { customer: order.customer, name, category, occurred_at };
        occurred_at -= dice.seconds(15, 180);
        event
    };
    clicks.into_iter().map(&mut event).collect()
}

/// Visits without an order, in each of six months: the keener the customer, the more of them.
fn browsing(user: &User, beginning: Instant) -> Vec<Event> {
    let mut dice = Dice::about("browsing", user.customer);
    let keenness = (6 + 7 * user.orders).min(90);
    let mut events = Vec::new();
    for month in 0..6 {
        if dice.chance(keenness) {
            let begun_at = beginning + TimeDelta::days(30 * month) + dice.seconds(0, 30 * 86_400);
            events.extend(browsing_visit(user.customer, begun_at, &mut dice));
        }
    }
    events
}

fn browsing_visit(customer: u32, begun_at: Instant, dice: &mut Dice) -> Vec<Event> {
    let favourite = Dice::about("taste", customer).category();
    let mut clicks = vec![("page_viewed", None)];
    for _ in 0..=dice.below(3) {
        let category = if dice.chance(50) { favourite } else { dice.category() };
        clicks.push(("product_viewed", Some(category)));
        if dice.chance(20) {
            clicks.push(("cart_added", Some(category)));
        }
    }
    let mut occurred_at = begun_at;
    let mut event = |(name, category)| {
        occurred_at += dice.seconds(15, 180);
        Event { customer, name, category, occurred_at }
    };
    clicks.into_iter().map(&mut event).collect()
}
