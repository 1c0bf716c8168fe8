-- A replaced email is a new identifier, and the old one is dropped silently.

--@ table users
-- user_id,score
-- u1,20

--@ table emails
-- user_id,email,added_at
-- u1,old@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ trait scores ->
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= scores: entered u1 identify {"email":"old@x.org","score":20}

--@ table emails
-- user_id,email,added_at
-- u1,new@x.org,2024-02-01

--@ run
--= scores: resynced u1 identify {"email":"new@x.org","score":20}
--= scores: (retired) u1 old@x.org
