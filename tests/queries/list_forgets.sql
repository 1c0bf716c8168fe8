-- Members that the platform forgets are said again before half of that time, not all in one run; a list
-- that is too small to be used is told.

--@ grain forgetful

--@ table users
-- user_id,score
-- u1,20
-- u2,30

--@ query identifiers
SELECT user_id, 'email' AS type, user_id || '@x.org' AS value FROM users

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u1 add {"email":"u1@x.org"}
--= adults: entered u2 add {"email":"u2@x.org"}
--= warning[R06]: `adults.out` has 2 members; `out` uses lists of 3 and more
--= hint: it is sent all the same; the platform may refuse removals and show nothing yet

--@ table users
-- user_id,score
-- u1,20
-- u2,30
-- u3,30
-- u4,30
-- u5,30

--@ run
--= adults: entered u3 add {"email":"u3@x.org"}
--= adults: entered u4 add {"email":"u4@x.org"}
--= adults: entered u5 add {"email":"u5@x.org"}
--= adults: 2 unchanged

--@ run
--= adults: resynced u1 add {"email":"u1@x.org"}
--= adults: 4 unchanged

--@ run
--= adults: resynced u2 add {"email":"u2@x.org"}
--= adults: resynced u3 add {"email":"u3@x.org"}
--= adults: resynced u4 add {"email":"u4@x.org"}
--= adults: resynced u5 add {"email":"u5@x.org"}
--= adults: 1 unchanged

--@ run
--= adults: resynced u1 add {"email":"u1@x.org"}
--= adults: 4 unchanged

--@ run
--= adults: resynced u3 add {"email":"u3@x.org"}
--= adults: resynced u4 add {"email":"u4@x.org"}
--= adults: resynced u5 add {"email":"u5@x.org"}
--= adults: 2 unchanged
