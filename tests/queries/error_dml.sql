-- DML is refused.

--@ table users
-- user_id,score
-- u1,20

--@ audience adults ->
INSERT INTO users VALUES ('u9', 1)

--@ run
--= error[Q01]: a model is exactly one query; this file holds `INSERT`
--=   --> queries/audiences/adults.sql:5:1
--=    |
--=  5 | INSERT INTO users VALUES ('u9', 1)
--=    | ^^^^^^
--= hint: keep one `SELECT` per file, and nothing else
