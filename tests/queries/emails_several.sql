-- A profile with several emails is one record, and gets one message, for each.

--@ table users
-- user_id,score
-- u1,1
-- u2,2

--@ table emails
-- user_id,email,added_at
-- u1,ada@x.org,2024-01-01
-- u1,ada@y.org,2024-02-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ trait scores ->
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= scores: entered u1 identify {"email":"ada@x.org","score":1}
--= scores: entered u1 identify {"email":"ada@y.org","score":1}
--= scores: entered u2 identify {"score":2}

--@ table users
-- user_id,score
-- u1,5
-- u2,2

--@ run
--= scores: changed u1 identify {"email":"ada@x.org","score":5}
--= scores: changed u1 identify {"email":"ada@y.org","score":5}
--= scores: 1 unchanged
