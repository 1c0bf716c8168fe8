-- A list that knows people by user id has one record per user: whoever has no email is a member too, one email may be
-- that of several, and who leaves is removed by id though nothing else is left of them.

--@ grain cohort

--@ table accounts
-- account_id,seats
-- a1,10
-- a2,20

--@ table members
-- account_id,user_id
-- a1,u1
-- a1,u2
-- a2,u2
-- a2,u3

--@ query account_members
SELECT account_id, user_id FROM members

--@ table emails
-- user_id,email,added_at
-- u1,a@x.org,2024-01-01
-- u2,shared@x.org,2024-01-01
-- u3,shared@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ audience large ->
SELECT account_id FROM accounts WHERE seats >= 10

--@ audience known ->
SELECT DISTINCT user_id FROM members

--@ run
--= known: entered u1 add {"email":"a@x.org"}
--= known: entered u2 add {"email":"shared@x.org"}
--= known: entered u3 add {"email":"shared@x.org"}
--= large: entered u1 add {"email":"a@x.org"}
--= large: entered u2 add {"email":"shared@x.org"}
--= large: entered u3 add {"email":"shared@x.org"}

--@ table members
-- account_id,user_id
-- a1,u2
-- a2,u2
-- a2,u4

--@ table emails
-- user_id,email,added_at
-- u2,new@x.org,2024-02-01

--@ run
--= known: entered u4 add {}
--= known: exited u1 remove {"email":"a@x.org"}
--= known: exited u3 remove {"email":"shared@x.org"}
--= known: resynced u2 add {"email":"new@x.org"}
--= large: entered u4 add {}
--= large: exited u1 remove {"email":"a@x.org"}
--= large: exited u3 remove {"email":"shared@x.org"}
--= large: resynced u2 add {"email":"new@x.org"}

--@ run
--= known: 2 unchanged
--= large: 2 unchanged
