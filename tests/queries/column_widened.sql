-- Widening a column changes nothing, nor does another type in which the value reads the same.

--@ table users
-- user_id,score
-- u1,1
-- u2,2

--@ trait scores ->
SELECT user_id, CAST(score AS INT) AS score FROM users

--@ run
--= scores: entered u1 identify {"score":1}
--= scores: entered u2 identify {"score":2}

--@ trait scores ->
SELECT user_id, CAST(score AS BIGINT) AS score FROM users

--@ run
--= scores: 2 unchanged

--@ trait scores ->
SELECT user_id, CAST(score AS DOUBLE) AS score FROM users

--@ run
--= scores: 2 unchanged

--@ trait scores ->
SELECT user_id, CAST(score AS VARCHAR) AS score FROM users

--@ run
--= scores: 2 unchanged
