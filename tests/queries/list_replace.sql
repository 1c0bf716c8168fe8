-- A list is replaced: all who are wanted are said again, and whoever is not is taken off without a message;
-- unless somebody did not arrive, then nobody is taken off and the next run removes them one by one.

--@ grain forgetful

--@ table users
-- user_id,score
-- u1,20
-- u2,30
-- u3,30
-- u4,30

--@ query identifiers
SELECT user_id, 'email' AS type, user_id || '@x.org' AS value FROM users

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u1 add {"email":"u1@x.org"}
--= adults: entered u2 add {"email":"u2@x.org"}
--= adults: entered u3 add {"email":"u3@x.org"}
--= adults: entered u4 add {"email":"u4@x.org"}

--@ table users
-- user_id,score
-- u2,30
-- u3,30
-- u4,30
-- u5,30

--@ run replacing
--= adults: entered u5 add {"email":"u5@x.org"}
--= adults: replaced
--= adults: replacing
--= adults: resynced u2 add {"email":"u2@x.org"}
--= adults: resynced u3 add {"email":"u3@x.org"}
--= adults: resynced u4 add {"email":"u4@x.org"}
--= adults: (displaced) u1 u1@x.org

--@ table users
-- user_id,score
-- u3,30
-- u4,30
-- u5,30

--@ run replacing losing u4
--= adults: replacing
--= adults: resynced u3 add {"email":"u3@x.org"}
--= adults: resynced u4 add {"email":"u4@x.org"}
--= adults: resynced u5 add {"email":"u5@x.org"}
--= adults: (displaced) u2 u2@x.org
--= adults: 2 pending

--@ run
--= adults: entered u4 add {"email":"u4@x.org"}
--= adults: exited u2 remove {"email":"u2@x.org"}
--= adults: 2 unchanged
