-- SQL that does not parse is shown where it ends to make sense.

--@ table users
-- user_id,score
-- u1,20

--@ audience adults ->
SELECT user_id FROM users WHERE

--@ run
--= error[Q02]: SQL cannot be parsed: Expected: an expression, found: EOF
--=   --> queries/audiences/adults.sql:5:27
--=    |
--=  5 | SELECT user_id FROM users WHERE
--=    |                           ^^^^^
--= hint: the mistake is at the mark or right before it; the dialect is DataFusion's
