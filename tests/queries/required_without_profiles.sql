-- Without profiles there is nothing to fill a required column from: every record is invalid.

--@ grain required

--@ table users
-- user_id,score
-- u1,20

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: 1 invalid
