-- identifiers = { email = "first" } sends to the email added first alone.

--@ table users
-- user_id,score
-- u1,1
-- u2,2

--@ table emails
-- user_id,email,added_at
-- u1,ada@x.org,2024-02-01
-- u1,ada@y.org,2024-01-01
-- u2,b@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ trait scores -> identifiers = { email = "first" }
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= scores: entered u1 identify {"email":"ada@y.org","score":1}
--= scores: entered u2 identify {"email":"b@x.org","score":2}

--@ table emails
-- user_id,email,added_at
-- u1,ada@x.org,2024-02-01
-- u1,ada@y.org,2024-01-01
-- u1,ada@z.org,2023-01-01
-- u2,b@x.org,2024-01-01
-- u2,c@x.org,2024-03-01

--@ run
--= scores: resynced u1 identify {"email":"ada@z.org","score":1}
--= scores: (retired) u1 ada@y.org
--= scores: 1 unchanged
