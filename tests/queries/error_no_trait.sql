-- A trait model needs a column beside its key.

--@ table users
-- user_id,score
-- u1,20

--@ trait scores ->
SELECT user_id FROM users

--@ run
--= error[Q07]: trait `scores` has no column beside its key
--=   --> queries/traits/scores.sql:5:1
--=    |
--=  5 | SELECT user_id FROM users
--=    | ^^^^^^
--= hint: select the trait's value beside `user_id`
