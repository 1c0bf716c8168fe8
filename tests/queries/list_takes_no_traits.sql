-- Lists take audiences only, never traits.

--@ grain list

--@ table users
-- user_id,score
-- u1,20

--@ trait scores ->
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= error[S02]: trait `scores` cannot go to `out`: Sketch holds lists
--=   --> queries/traits/scores.sql:3:9
--=    |
--=  3 | sync = ["out"]
--=    |         ^^^^^
--= hint: lists take audiences only; write an audience that selects from this trait
