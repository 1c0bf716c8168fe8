-- By subject, a new email that was refused or lost is not what the destination has: it is said again.

--@ grain subject

--@ table users
-- user_id,score
-- u1,20
-- u2,30

--@ table emails
-- user_id,email,added_at
-- u1,a@x.org,2024-01-01
-- u2,b@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u1 identify {"adults":true,"email":"a@x.org"}
--= adults: entered u2 identify {"adults":true,"email":"b@x.org"}

--@ table emails
-- user_id,email,added_at
-- u1,new@x.org,2024-02-01
-- u2,new@y.org,2024-02-01

--@ run refusing u1 losing u2
--= adults: resynced u1 identify {"adults":true,"email":"new@x.org"}
--= adults: resynced u2 identify {"adults":true,"email":"new@y.org"}
--= adults: 1 rejected, 1 pending

--@ run retrying
--= adults: entered u2 identify {"adults":true,"email":"new@y.org"}
--= adults: resynced u1 identify {"adults":true,"email":"new@x.org"}

--@ run
--= adults: 2 unchanged
