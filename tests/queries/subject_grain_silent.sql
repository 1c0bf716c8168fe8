-- By subject, with resync_on_new_identifier = false, a moved email is recorded silently.

--@ grain subject

--@ table users
-- user_id,score
-- u1,20

--@ table emails
-- user_id,email,added_at
-- u1,a@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ audience adults -> resync_on_new_identifier = false
SELECT user_id FROM users WHERE score >= 18

--@ trait scores -> resync_on_new_identifier = false
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= adults: entered u1 identify {"adults":true,"email":"a@x.org"}
--= scores: entered u1 identify {"email":"a@x.org","score":20}

--@ table emails
-- user_id,email,added_at
-- u1,b@x.org,2024-02-01

--@ run
--= adults: (adopted) u1 b@x.org
--= adults: 1 unchanged
--= scores: (adopted) u1 b@x.org
--= scores: 1 unchanged

--@ table users
-- user_id,score
-- u1,21

--@ run
--= adults: 1 unchanged
--= scores: changed u1 identify {"email":"b@x.org","score":21}
