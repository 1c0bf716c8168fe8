-- A required column without any profiles is a finding: every record would be invalid.

--@ grain required

--@ table users
-- user_id,score
-- u1,20

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= error[S09]: `adults.out` needs `name` of every user, which `profiles` lacks
--=   --> queries/audiences/adults.sql
--= hint: let `profiles.sql` return a column `name`; Sketch refuses people without it
