-- A list holds one record per distinct set of match fields, as the platform normalises them. Users who come to the
-- same set are one member, and who has no match field cannot be one: invalid.

--@ grain list

--@ table users
-- user_id,score
-- u1,20
-- u2,30
-- u3,40
-- u4,50
-- u5,60

--@ table people
-- user_id,name,phone
-- u1,Ada,+1 (650) 555
-- u2,Bob,1650555
-- u3,Cyd,77
-- u4,Dan,none
-- u5,Eve,

--@ table emails
-- user_id,email,added_at
-- u1, Ada@X.org,2024-01-01
-- u2,ada@x.org,2024-01-01
-- u5,not an email,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ query profiles
SELECT user_id, name, phone FROM people

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u1 add {"email":"ada@x.org","phone":"1650555"}
--= adults: entered u3 add {"phone":"77"}
--= adults: 2 invalid
--= warning[R03]: `adults.out` cannot send everybody: no usable `email` or `phone` (2)
--= hint: `muster rejected adults.out` lists them once a run has computed them
--=
--= warning[R05]: `adults.out`: 50.0 % of the members can be sent; 33.3 % of `email` cannot be used: not an email address (1); 25.0 % of `phone` cannot be used: no digits (1)
--= hint: members are matched by their other fields, or left out where they have none
--=
--= 2 warnings

--@ run
--= adults: 2 unchanged, 2 invalid
--= warning[R03]: `adults.out` cannot send everybody: no usable `email` or `phone` (2)
--= hint: `muster rejected adults.out` lists them once a run has computed them
--=
--= warning[R05]: `adults.out`: 50.0 % of the members can be sent; 33.3 % of `email` cannot be used: not an email address (1); 25.0 % of `phone` cannot be used: no digits (1)
--= hint: members are matched by their other fields, or left out where they have none
--=
--= 2 warnings
