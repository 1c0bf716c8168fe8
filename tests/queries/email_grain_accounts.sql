-- Accounts are told apart by their id even where users are told apart by email.

--@ grain email

--@ table accounts
-- account_id,seats
-- a1,10
-- a2,20
-- a3,1

--@ table emails
-- user_id,email,added_at
-- a1,a@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ trait seats ->
SELECT account_id, seats FROM accounts

--@ audience large ->
SELECT account_id FROM accounts WHERE seats >= 10

--@ run
--= large: entered a1 group {"large":true}
--= large: entered a2 group {"large":true}
--= seats: entered a1 group {"seats":10}
--= seats: entered a2 group {"seats":20}
--= seats: entered a3 group {"seats":1}

--@ table accounts
-- account_id,seats
-- a1,1
-- a2,20

--@ run
--= large: exited a1 group {"large":false}
--= large: 1 unchanged
--= seats: changed a1 group {"seats":1}
--= seats: exited a3 group {"seats":null}
--= seats: 1 unchanged
