-- Of a user with several emails each set of match fields is a member; an identifier goes before a profile's column.
--@ grain list

--@ table users
-- user_id,score
-- u1,20
-- u2,30

--@ table ids
-- user_id,type,value
-- u1,phone,+1 11
-- u1,email,a@x.org
-- u1,email,b@x.org

--@ query identifiers
SELECT user_id, type, value FROM ids

--@ table people
-- user_id,phone
-- u1,99
-- u2,22

--@ query profiles
SELECT user_id, phone FROM people

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u1 add {"email":"a@x.org","phone":"111"}
--= adults: entered u1 add {"email":"b@x.org","phone":"111"}
--= adults: entered u2 add {"phone":"22"}

--@ table ids
-- user_id,type,value
-- u1,phone,+1 11
-- u1,email,a@x.org

--@ run
--= adults: exited u1 remove {"email":"b@x.org"}
--= adults: 2 unchanged
