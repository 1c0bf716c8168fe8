-- Who leaves is removed by those identifiers only that no other member still has, in whatever combination.

--@ grain list

--@ table users
-- user_id,score
-- u1,20
-- u2,30
-- u3,40

--@ table ids
-- user_id,type,value
-- u1,email,a@x.org
-- u1,email,b@x.org
-- u1,phone,+1 11
-- u2,phone,+1 11
-- u2,email,c@x.org
-- u3,email,a@x.org
-- u3,phone,+1 33

--@ query identifiers
SELECT user_id, type, value FROM ids

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u1 add {"email":"a@x.org","phone":"111"}
--= adults: entered u1 add {"email":"b@x.org","phone":"111"}
--= adults: entered u2 add {"email":"c@x.org","phone":"111"}
--= adults: entered u3 add {"email":"a@x.org","phone":"133"}

--@ table ids
-- user_id,type,value
-- u1,email,a@x.org
-- u1,phone,+1 11
-- u2,phone,+1 11
-- u2,email,c@x.org
-- u3,email,a@x.org
-- u3,phone,+1 33

--@ run
--= adults: exited u1 remove {"email":"b@x.org"}
--= adults: 3 unchanged

--@ table users
-- user_id,score
-- u2,30
-- u3,40

--@ run losing u2
--= adults: (retired) u1
--= adults: 2 unchanged

--@ table users
-- user_id,score
-- u3,40

--@ run
--= adults: exited u2 remove {"email":"c@x.org","phone":"111"}
--= adults: 1 unchanged

--@ table users
-- user_id,score
-- u9,40

--@ run allow_large_change
--= adults: exited u3 remove {"email":"a@x.org","phone":"133"}
--= adults: 1 invalid
--= warning[R03]: `adults.out` cannot send everybody: no usable `email` or `phone` (1)
--= hint: `muster rejected adults.out` lists them once a run has computed them
