-- Match fields are taken from identifiers of that type as well as from profiles.

--@ grain list

--@ table users
-- user_id,score
-- u1,20
-- u2,30

--@ table ids
-- user_id,type,value
-- u1,phone,+1 11
-- u1,email,a@x.org

--@ query identifiers
SELECT user_id, type, value FROM ids

--@ table people
-- user_id,name,phone
-- u2,Bob,22

--@ query profiles
SELECT user_id, name, phone FROM people

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u1 add {"email":"a@x.org","phone":"111"}
--= adults: entered u2 add {"phone":"22"}
