-- Other columns of an audience travel with list members; a change in them alone sends nothing.

--@ grain list

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

--@ query profiles
SELECT user_id, name, phone FROM people

--@ table people
-- user_id,name,phone
-- u1,Ada,

--@ audience adults ->
SELECT user_id, score FROM users WHERE score >= 18

--@ run
--= adults: entered u1 add {"email":"a@x.org"} {"score":20}
--= adults: entered u2 add {"email":"b@x.org"} {"score":30}

--@ table users
-- user_id,score
-- u1,21
-- u2,3

--@ run
--= adults: exited u2 remove {"email":"b@x.org"} {"score":30}
--= adults: 1 unchanged
