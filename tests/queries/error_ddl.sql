-- DDL is refused.

--@ table users
-- user_id,score
-- u1,20

--@ audience adults ->
CREATE TABLE stolen AS SELECT user_id FROM users

--@ run
--= error[Q01]: a model is exactly one query; this file holds `CREATE`
--=   --> queries/audiences/adults.sql:5:1
--=    |
--=  5 | CREATE TABLE stolen AS SELECT user_id FROM users
--=    | ^^^^^^
--= hint: keep one `SELECT` per file, and nothing else
