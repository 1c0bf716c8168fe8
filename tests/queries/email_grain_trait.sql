-- By email, a trait takes the value of the owner to whom the address was added last.

--@ grain email

--@ table users
-- user_id,score
-- u1,10
-- u2,20

--@ table emails
-- user_id,email,added_at
-- u1,shared@x.org,2024-01-01
-- u2,shared@x.org,2024-02-01
-- u2,own@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ trait scores ->
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= scores: entered u2 identify {"email":"own@x.org","score":20}
--= scores: entered u2 identify {"email":"shared@x.org","score":20}
--= warning[R04]: `scores.out`: 1 emails have several owners whose values differ
--= hint: the owner whose email was added last decides; see `identifiers`

--@ table users
-- user_id,score
-- u1,11
-- u2,20

--@ run
--= scores: 2 unchanged
--= warning[R04]: `scores.out`: 1 emails have several owners whose values differ
--= hint: the owner whose email was added last decides; see `identifiers`

--@ table emails
-- user_id,email,added_at
-- u1,shared@x.org,2024-03-01
-- u2,shared@x.org,2024-02-01
-- u2,own@x.org,2024-01-01

--@ run
--= scores: changed u1 identify {"email":"shared@x.org","score":11}
--= scores: 1 unchanged
--= warning[R04]: `scores.out`: 1 emails have several owners whose values differ
--= hint: the owner whose email was added last decides; see `identifiers`

--@ table users
-- user_id,score
-- u1,11

--@ run
--= scores: exited u2 identify {"email":"own@x.org","score":null}
--= scores: 1 unchanged
