-- An account-level audience becomes the list of the users of its accounts.

--@ grain list

--@ table accounts
-- account_id,seats
-- a1,10
-- a2,20
-- a3,1

--@ table members
-- account_id,user_id
-- a1,u1
-- a1,u2
-- a2,u2
-- a3,u3

--@ query account_members
SELECT account_id, user_id FROM members

--@ table emails
-- user_id,email,added_at
-- u1,a@x.org,2024-01-01
-- u2,b@x.org,2024-01-01
-- u3,c@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ table people
-- user_id,name,phone
-- u1,Ada,

--@ query profiles
SELECT user_id, name, phone FROM people

--@ audience large ->
SELECT account_id FROM accounts WHERE seats >= 10

--@ run
--= large: entered u1 add {"email":"a@x.org"}
--= large: entered u2 add {"email":"b@x.org"}

--@ table accounts
-- account_id,seats
-- a1,1
-- a2,20
-- a3,1

--@ run
--= large: exited u1 remove {"email":"a@x.org"}
--= large: 1 unchanged
