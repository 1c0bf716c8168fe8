-- NaN equals NaN and -0.0 equals 0.0: neither is a change. In JSON, NaN is null.

--@ table users
-- user_id,score
-- u1,1
-- u2,2

--@ trait ratios ->
SELECT user_id, CASE score WHEN 1 THEN CAST('NaN' AS DOUBLE) WHEN 2 THEN -0.0 ELSE 0.0 END AS ratio FROM users

--@ run
--= ratios: entered u1 identify {"ratio":null}
--= ratios: entered u2 identify {"ratio":0.0}

--@ run
--= ratios: 2 unchanged

--@ table users
-- user_id,score
-- u1,1
-- u2,3

--@ run
--= ratios: 2 unchanged

--@ table users
-- user_id,score
-- u1,3
-- u2,1

--@ run
--= ratios: changed u1 identify {"ratio":0.0}
--= ratios: changed u2 identify {"ratio":null}
