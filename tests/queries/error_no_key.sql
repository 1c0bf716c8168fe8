-- A model must produce its key column.

--@ table users
-- user_id,score
-- u1,20

--@ audience adults ->
SELECT user_id AS id FROM users

--@ run
--= error[Q03]: audience `adults` does not produce its key column
--=   --> queries/audiences/adults.sql:5:1
--=    |
--=  5 | SELECT user_id AS id FROM users
--=    | ^^^^^^ expected a column named `user_id` or `account_id`
--=   columns: `id`
--= hint: alias the column that identifies the user `AS user_id`
