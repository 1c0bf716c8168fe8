-- Keys of a model that others select from are held to the same rule.

--@ table users
-- user_id,score
-- u1,20
-- u1,30

--@ trait base
SELECT user_id, score FROM users

--@ audience adults ->
SELECT DISTINCT user_id FROM traits.base

--@ run
--= error[Q12]: trait `base` returns 1 duplicate key in `user_id`
--=   --> queries/traits/base.sql:5:1
--=    |
--=  5 | SELECT user_id, score FROM users
--=    | ^^^^^^
--= hint: return each key once: aggregate, or use DISTINCT
