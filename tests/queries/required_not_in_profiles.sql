-- A required column that profiles do not have makes every record invalid, too.

--@ grain required

--@ table users
-- user_id,score
-- u1,20

--@ table people
-- user_id,city
-- u1,Ulm

--@ query profiles
SELECT user_id, city FROM people

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: 1 invalid
