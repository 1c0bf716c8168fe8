-- Who leaves a list is removed by the identifiers that were sent, though email, phone or the whole user are gone by then.

--@ grain list

--@ table users
-- user_id,score
-- u1,20
-- u2,30
-- u3,40
-- u4,50

--@ table people
-- user_id,name,phone
-- u1,Ada,+1 11
-- u2,Bob,22
-- u3,Cyd,33
-- u4,Dan,44

--@ table emails
-- user_id,email,added_at
-- u1,A@x.org,2024-01-01
-- u2,b@x.org,2024-01-01
-- u3,c@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ query profiles
SELECT user_id, name, phone FROM people

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u1 add {"email":"a@x.org","phone":"111"}
--= adults: entered u2 add {"email":"b@x.org","phone":"22"}
--= adults: entered u3 add {"email":"c@x.org","phone":"33"}
--= adults: entered u4 add {"phone":"44"}

--@ table users
-- user_id,score
-- u2,3
-- u3,4
-- u4,50

--@ table people
-- user_id,name,phone
-- u3,Cyd,33
-- u4,Dan,44

--@ table emails
-- user_id,email,added_at
-- u3,c@x.org,2024-01-01

--@ run
--= adults: exited u1 remove {"email":"a@x.org","phone":"111"}
--= adults: exited u2 remove {"email":"b@x.org","phone":"22"}
--= adults: exited u3 remove {"email":"c@x.org","phone":"33"}
--= adults: 1 unchanged

--@ run
--= adults: 1 unchanged
