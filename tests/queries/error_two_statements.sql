-- A model is one query: two statements are refused.

--@ table users
-- user_id,score
-- u1,20

--@ audience adults ->
SELECT user_id FROM users;
SELECT user_id FROM users

--@ run
--= error[Q01]: a model is exactly one query; this file holds 2 statements
--=   --> queries/audiences/adults.sql:6:1
--=    |
--=  6 | SELECT user_id FROM users
--=    | ^^^^^^
--= hint: keep one `SELECT` per file, and nothing else
