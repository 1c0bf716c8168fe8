-- A user who is no longer returned is sent as null once for each trait that had a value.

--@ table users
-- user_id,score,tier
-- u1,1,base
-- u2,2,

--@ trait scores ->
SELECT user_id, score, tier FROM users

--@ run
--= scores: entered u1 identify {"score":1,"tier":"base"}
--= scores: entered u2 identify {"score":2}

--@ table users
-- user_id,score,tier
-- u1,1,base

--@ run
--= scores: exited u2 identify {"score":null}
--= scores: 1 unchanged

--@ run
--= scores: 1 unchanged
