-- An unknown column is named with the nearest one.

--@ table users
-- user_id,score
-- u1,20

--@ audience adults ->
SELECT user_id
FROM users
WHERE scor >= 18

--@ run
--= error[Q05]: there is no column `scor`
--=   --> queries/audiences/adults.sql:7:7
--=    |
--=  7 | WHERE scor >= 18
--=    |       ^^^^ not a column here
--=   columns: `user_id`, `score`
--= hint: did you mean `score`?
