-- Keys that come more than once are refused with their number.

--@ table users
-- user_id,score
-- u1,1
-- u1,2
-- u2,3
-- u2,4
-- u3,5

--@ trait scores ->
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= error[Q12]: trait `scores` returns 2 duplicate keys in `user_id`
--=   --> queries/traits/scores.sql:5:1
--=    |
--=  5 | SELECT user_id, score FROM users WHERE user_id <> 'x'
--=    | ^^^^^^
--= hint: return each key once: aggregate, or use DISTINCT
