//! Accounts, and which users belong to them.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use crate::Instant;
use crate::dice::Dice;
use crate::users::{User, end_of_books};
use crate::words::{ACCOUNT_KINDS, ACCOUNT_PLACES};

const ACCOUNTS: u32 = 150;

pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) plan: &'static str,
    pub(crate) seats: i32,
    pub(crate) members: Vec<Member>,
}

pub(crate) struct Member {
    pub(crate) customer: u32,
    pub(crate) role: &'static str,
    pub(crate) joined_at: Instant,
}

/// Every fifteenth customer owns an account; of the others one in five is a member of one.
pub(crate) fn accounts(users: &[User]) -> Vec<Account> {
    let mut members: BTreeMap<u32, Vec<Member>> = BTreeMap::new();
    for user in users {
        let mut dice = Dice::about("account", user.customer);
        if user.customer % 15 == 7 && user.customer / 15 < ACCOUNTS {
            let owner = member(user, "owner", TimeDelta::zero());
            members.entry(user.customer / 15).or_default().push(owner);
        } else if dice.chance(20) {
            // A product of two throws: few large accounts, many small ones.
            let account = dice.below(ACCOUNTS) * dice.below(ACCOUNTS) / ACCOUNTS;
            let role = if dice.chance(70) { "buyer" } else { "viewer" };
            let later = dice.seconds(3600, 480 * 86_400);
            members.entry(account).or_default().push(member(user, role, later));
        }
    }
    members.into_iter().map(|(number, members)| account(number, members)).collect()
}

fn member(user: &User, role: &'static str, later: TimeDelta) -> Member {
    let joined_at = (user.created_at + later).min(end_of_books());
    Member { customer: user.customer, role, joined_at }
}

fn account(number: u32, members: Vec<Member>) -> Account {
    let place = ACCOUNT_PLACES[number as usize % ACCOUNT_PLACES.len()];
    let kind = ACCOUNT_KINDS[number as usize / ACCOUNT_PLACES.len() % ACCOUNT_KINDS.len()];
    let (plan, seats) = match members.len() {
        0..=3 => ("starter", 3),
        4..=10 => ("team", 10),
        _ => ("business", 50),
    };
    Account {
        id: format!("a{:03}", number + 1),
        name: format!("{place} {kind}"),
        plan,
        seats,
        members,
    }
}
