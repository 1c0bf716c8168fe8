-- A member who leaves stays on the list while another one has the same match fields.

--@ grain list

--@ table users
-- user_id,score
-- u1,20
-- u2,30
-- u3,40

--@ table people
-- user_id,name,phone
-- u1,Ada,1
-- u2,Ann,1
-- u3,Cyd,3

--@ table emails
-- user_id,email,added_at
-- u1,a@x.org,2024-01-01
-- u2,A@X.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ query profiles
SELECT user_id, name, phone FROM people

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u1 add {"email":"a@x.org","phone":"1"}
--= adults: entered u3 add {"phone":"3"}

--@ table users
-- user_id,score
-- u2,30
-- u3,40

--@ run
--= adults: 2 unchanged

--@ table users
-- user_id,score
-- u2,3
-- u3,40

--@ run
--= adults: exited u1 remove {"email":"a@x.org","phone":"1"}
--= adults: 1 unchanged
