-- A value that became NULL is sent as null once; one that nobody ever knew is not sent.

--@ table users
-- user_id,score
-- u1,1
-- u2,

--@ trait scores ->
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= scores: entered u1 identify {"score":1}
--= scores: 1 unchanged

--@ table users
-- user_id,score
-- u1,
-- u2,

--@ run
--= scores: changed u1 identify {"score":null}
--= scores: 1 unchanged

--@ run
--= scores: 2 unchanged

--@ table users
-- user_id,score
-- u1,3
-- u2,

--@ run
--= scores: changed u1 identify {"score":3}
--= scores: 1 unchanged
