-- With resync_on_new_identifier = false a new email is recorded silently; later changes go to it too.

--@ table users
-- user_id,score
-- u1,20

--@ table emails
-- user_id,email,added_at
-- u1,ada@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ trait scores -> resync_on_new_identifier = false
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= scores: entered u1 identify {"email":"ada@x.org","score":20}

--@ table emails
-- user_id,email,added_at
-- u1,ada@x.org,2024-01-01
-- u1,ada@y.org,2024-02-01

--@ run
--= scores: (adopted) u1 ada@y.org
--= scores: 2 unchanged

--@ table users
-- user_id,score
-- u1,21

--@ run
--= scores: changed u1 identify {"email":"ada@x.org","score":21}
--= scores: changed u1 identify {"email":"ada@y.org","score":21}
