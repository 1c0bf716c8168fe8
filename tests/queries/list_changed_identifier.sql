-- A member whose match fields changed is another record: the new set is added, the one that was sent is removed.

--@ grain list

--@ table users
-- user_id,score
-- u1,20
-- u2,30

--@ table people
-- user_id,name,phone
-- u1,Ada,1
-- u2,Bob,2

--@ table emails
-- user_id,email,added_at
-- u1,old@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ query profiles
SELECT user_id, name, phone FROM people

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u1 add {"email":"old@x.org","phone":"1"}
--= adults: entered u2 add {"phone":"2"}

--@ table emails
-- user_id,email,added_at
-- u1,new@x.org,2024-01-01

--@ run
--= adults: entered u1 add {"email":"new@x.org","phone":"1"}
--= adults: exited u1 remove {"email":"old@x.org"}
--= adults: 1 unchanged

--@ table people
-- user_id,name,phone
-- u1,Ada,(1)
-- u2,Bob,+2

--@ run
--= adults: 2 unchanged
