-- Without profiles a list matches by email alone.

--@ grain list

--@ table users
-- user_id,score
-- u1,20
-- u2,30

--@ table emails
-- user_id,email,added_at
-- u1,a@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u1 add {"email":"a@x.org"}
--= adults: 1 invalid
--= warning[R03]: `adults.out` cannot send everybody: no usable `email` or `phone` (1)
--= hint: `muster rejected adults.out` lists them once a run has computed them
