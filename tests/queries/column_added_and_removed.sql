-- A new column is sent to everybody who has a value; a removed one is silent and keeps its last value there.

--@ table users
-- user_id,score,tier
-- u1,1,base
-- u2,2,

--@ trait scores ->
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= scores: entered u1 identify {"score":1}
--= scores: entered u2 identify {"score":2}

--@ trait scores ->
SELECT user_id, score, tier FROM users

--@ run
--= scores: changed u1 identify {"tier":"base"}
--= scores: 1 unchanged

--@ trait scores ->
SELECT user_id, tier FROM users

--@ run
--= scores: 2 unchanged

--@ trait scores ->
SELECT user_id, score, tier FROM users

--@ run
--= scores: 2 unchanged
