-- An account-level audience cannot become a list when nothing says who the users of an account are.

--@ grain list

--@ table accounts
-- account_id,seats
-- a1,10
-- a2,20
-- a3,1

--@ table emails
-- user_id,email,added_at
-- u1,a@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ audience large ->
SELECT account_id FROM accounts WHERE seats >= 10

--@ run
--= error[S07]: `large` is about accounts, and `out` lists users
--=   --> queries/audiences/large.sql
--= hint: say who the users of an account are in `queries/account_members.sql`
