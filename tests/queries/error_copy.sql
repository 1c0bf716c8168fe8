-- COPY is refused.

--@ table users
-- user_id,score
-- u1,20

--@ audience adults ->
COPY (SELECT user_id FROM users) TO 'stolen.csv'

--@ run
--= error[Q01]: a model is exactly one query; this file holds `COPY`
--=   --> queries/audiences/adults.sql:5:1
--=    |
--=  5 | COPY (SELECT user_id FROM users) TO 'stolen.csv'
--=    | ^^^^
--= hint: keep one `SELECT` per file, and nothing else
