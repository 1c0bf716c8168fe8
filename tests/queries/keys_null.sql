-- Keys that are NULL are refused with their number.

--@ table users
-- user_id,score
-- ,1
-- ,2
-- u3,5

--@ trait scores ->
SELECT user_id, score FROM users

--@ run
--= error[Q11]: trait `scores` returns 2 NULL keys in `user_id`
--=   --> queries/traits/scores.sql:5:1
--=    |
--=  5 | SELECT user_id, score FROM users
--=    | ^^^^^^
--= hint: leave rows without a key out
