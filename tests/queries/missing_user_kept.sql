-- With on_missing = "keep" nothing is said of users who are no longer returned.

--@ table users
-- user_id,score
-- u1,1
-- u2,2

--@ trait scores -> on_missing = "keep"
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= scores: entered u1 identify {"score":1}
--= scores: entered u2 identify {"score":2}

--@ table users
-- user_id,score
-- u1,1

--@ run
--= scores: 1 unchanged

--@ table users
-- user_id,score
-- u1,1
-- u2,2

--@ run
--= scores: 2 unchanged

--@ table users
-- user_id,score
-- u1,1
-- u2,4

--@ run
--= scores: changed u2 identify {"score":4}
--= scores: 1 unchanged
