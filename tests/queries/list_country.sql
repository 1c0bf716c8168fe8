-- National numbers belong to the country of the profile; what cannot be used is counted by field and reason.

--@ grain list

--@ table users
-- user_id,score
-- u1,20
-- u2,30
-- u3,40
-- u4,40

--@ table ids
-- user_id,type,value
-- u1,phone,0660 1
-- u2,phone,0660 2
-- u2,email,b@x.org
-- u3,phone,none
-- u3,email,nobody
-- u4,email,d@x.org

--@ query identifiers
SELECT user_id, type, value FROM ids

--@ table people
-- user_id,country
-- u1,AT
-- u2,

--@ query profiles
SELECT user_id, country FROM people

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u1 add {"phone":"436601"}
--= adults: entered u2 add {"email":"b@x.org"}
--= adults: entered u4 add {"email":"d@x.org"}
--= adults: 1 invalid
--= warning[R03]: `adults.out` cannot send everybody: no usable `email` or `phone` (1)
--= hint: `muster rejected adults.out` lists them once a run has computed them
--=
--= warning[R05]: `adults.out`: 75.0 % of the members can be sent; 33.3 % of `email` cannot be used: not an email address (1); 66.6 % of `phone` cannot be used: no country code (1), no digits (1)
--= hint: a column `country` in `profiles`, or the destination's option `country`, says where a national number belongs
--=
--= 2 warnings
