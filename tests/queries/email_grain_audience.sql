-- By email, an audience is an OR over the users who share an address: it leaves with the last of them.
-- Addresses are compared in lower case; users without one cannot be sent.

--@ grain email

--@ table users
-- user_id,score
-- u1,20
-- u2,30
-- u3,40
-- u4,1

--@ table emails
-- user_id,email,added_at
-- u1,Shared@X.org,2024-01-01
-- u2,shared@x.org,2024-02-01
-- u4,d@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u2 identify {"adults":true,"email":"shared@x.org"}
--= adults: 1 invalid
--= warning[R03]: `adults.out` cannot send everybody: no email (1)
--= hint: `muster rejected adults.out` lists them once a run has computed them

--@ table users
-- user_id,score
-- u1,20
-- u2,3
-- u3,40
-- u4,1

--@ run
--= adults: 1 unchanged, 1 invalid
--= warning[R03]: `adults.out` cannot send everybody: no email (1)
--= hint: `muster rejected adults.out` lists them once a run has computed them

--@ table users
-- user_id,score
-- u1,2
-- u2,3
-- u3,40
-- u4,44

--@ run allow_large_change
--= adults: entered u4 identify {"adults":true,"email":"d@x.org"}
--= adults: exited u2 identify {"adults":false,"email":"shared@x.org"}
--= adults: 1 invalid
--= warning[R03]: `adults.out` cannot send everybody: no email (1)
--= hint: `muster rejected adults.out` lists them once a run has computed them
