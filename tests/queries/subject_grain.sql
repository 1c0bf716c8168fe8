-- By subject there is one record however many emails; the email added last travels with it, and a new one is a resync.
-- An email that is not preferred may come and go.

--@ grain subject

--@ table users
-- user_id,score
-- u1,10
-- u2,20

--@ table emails
-- user_id,email,added_at
-- u1,a@x.org,2024-01-01
-- u1,b@x.org,2024-02-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ trait scores ->
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u2 identify {"adults":true}
--= scores: entered u1 identify {"email":"b@x.org","score":10}
--= scores: entered u2 identify {"score":20}

--@ table emails
-- user_id,email,added_at
-- u1,a@x.org,2024-01-01
-- u1,b@x.org,2024-02-01
-- u1,c@x.org,2024-03-01
-- u2,z@x.org,2024-03-01

--@ run
--= adults: resynced u2 identify {"adults":true,"email":"z@x.org"}
--= scores: resynced u1 identify {"email":"c@x.org","score":10}
--= scores: resynced u2 identify {"email":"z@x.org","score":20}

--@ table emails
-- user_id,email,added_at
-- u1,c@x.org,2024-03-01
-- u2,z@x.org,2024-03-01

--@ run
--= adults: 1 unchanged
--= scores: 2 unchanged

--@ table users
-- user_id,score
-- u2,20

--@ run
--= adults: 1 unchanged
--= scores: exited u1 identify {"email":"c@x.org","score":null}
--= scores: 1 unchanged
