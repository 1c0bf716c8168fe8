-- A model cannot select from itself.

--@ table users
-- user_id,score
-- u1,20

--@ audience adults ->
SELECT user_id FROM audiences.adults

--@ run
--= error[Q10]: models select from each other in a circle: `adults` → `adults`
--=   --> queries/audiences/adults.sql:5:31
--=    |
--=  5 | SELECT user_id FROM audiences.adults
--=    |                               ^^^^^^
--= hint: take one of them out of the circle by selecting from the tables instead
