-- Of a model with several columns only those that changed travel.

--@ table users
-- user_id,score,tier
-- u1,1,base
-- u2,2,base

--@ trait scores ->
SELECT user_id, score, tier FROM users

--@ run
--= scores: entered u1 identify {"score":1,"tier":"base"}
--= scores: entered u2 identify {"score":2,"tier":"base"}

--@ table users
-- user_id,score,tier
-- u1,1,gold
-- u2,3,gold

--@ run
--= scores: changed u1 identify {"tier":"gold"}
--= scores: changed u2 identify {"score":3,"tier":"gold"}
