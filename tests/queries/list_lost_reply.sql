-- The same on a list: a member whose addition is in doubt is removed when they leave, by what was sent.

--@ grain list

--@ table users
-- user_id,score
-- u1,20
-- u2,30
-- u3,40

--@ table emails
-- user_id,email,added_at
-- u1,a@x.org,2024-01-01
-- u2,b@x.org,2024-01-01
-- u3,c@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ query profiles
SELECT user_id, name, phone FROM people

--@ table people
-- user_id,name,phone
-- u1,Ada,

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run losing u2
--= adults: entered u1 add {"email":"a@x.org"}
--= adults: entered u2 add {"email":"b@x.org"}
--= adults: entered u3 add {"email":"c@x.org"}
--= adults: 1 pending

--@ table users
-- user_id,score
-- u1,20
-- u3,40

--@ table emails
-- user_id,email,added_at
-- u1,a@x.org,2024-01-01
-- u3,c@x.org,2024-01-01

--@ run
--= adults: exited u2 remove {"email":"b@x.org"}
--= adults: 2 unchanged

--@ run
--= adults: 2 unchanged
