-- An unknown table is named with the nearest one.

--@ table users
-- user_id,score
-- u1,20

--@ audience adults ->
SELECT user_id FROM usres

--@ run
--= error[Q03]: there is no table `usres`
--=   --> queries/audiences/adults.sql:5:21
--=    |
--=  5 | SELECT user_id FROM usres
--=    |                     ^^^^^ not a table, trait or audience
--= hint: did you mean `users`?
