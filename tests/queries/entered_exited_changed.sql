-- The first run sends every member and every value; later runs only who entered, left or changed.

--@ table users
-- user_id,score
-- u1,20
-- u2,30
-- u3,5

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ trait scores ->
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= adults: entered u1 identify {"adults":true}
--= adults: entered u2 identify {"adults":true}
--= scores: entered u1 identify {"score":20}
--= scores: entered u2 identify {"score":30}
--= scores: entered u3 identify {"score":5}

--@ table users
-- user_id,score
-- u1,20
-- u2,7
-- u4,40

--@ run
--= adults: entered u4 identify {"adults":true}
--= adults: exited u2 identify {"adults":false}
--= adults: 1 unchanged
--= scores: changed u2 identify {"score":7}
--= scores: entered u4 identify {"score":40}
--= scores: exited u3 identify {"score":null}
--= scores: 1 unchanged

--@ run
--= adults: 2 unchanged
--= scores: 3 unchanged
