-- A user with two profiles is refused.

--@ table users
-- user_id,score
-- u1,20

--@ table people
-- user_id,name,phone
-- u1,Ada,
-- u1,Eda,

--@ query profiles
SELECT user_id, name, phone FROM people

--@ trait scores -> fields = { name = "name" }
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= error[Q12]: `profiles` returns 1 duplicate key in `user_id`
--=   --> queries/profiles.sql:1:1
--=    |
--=  1 | SELECT user_id, name, phone FROM people
--=    | ^^^^^^
--= hint: return each key once: aggregate, or use DISTINCT
