-- A new email of a known user brings all present values and memberships, though nothing else changed.

--@ table users
-- user_id,score
-- u1,20

--@ table emails
-- user_id,email,added_at
-- u1,ada@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ trait scores ->
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u1 identify {"adults":true,"email":"ada@x.org"}
--= scores: entered u1 identify {"email":"ada@x.org","score":20}

--@ table emails
-- user_id,email,added_at
-- u1,ada@x.org,2024-01-01
-- u1,ada@y.org,2024-02-01

--@ run
--= adults: resynced u1 identify {"adults":true,"email":"ada@y.org"}
--= adults: 1 unchanged
--= scores: resynced u1 identify {"email":"ada@y.org","score":20}
--= scores: 1 unchanged

--@ run
--= adults: 2 unchanged
--= scores: 2 unchanged
