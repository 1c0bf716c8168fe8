-- Suppressed users are left out of every sync; one who was delivered leaves.

--@ table users
-- user_id,score
-- u1,20
-- u2,30
-- u3,40

--@ table blocked
-- user_id
-- u2

--@ query suppressed
SELECT user_id FROM blocked

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ trait scores ->
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= adults: entered u1 identify {"adults":true}
--= adults: entered u3 identify {"adults":true}
--= adults: 1 suppressed
--= scores: entered u1 identify {"score":20}
--= scores: entered u3 identify {"score":40}
--= scores: 1 suppressed

--@ table blocked
-- user_id
-- u2
-- u3

--@ run
--= adults: exited u3 identify {"adults":false}
--= adults: 1 unchanged, 2 suppressed
--= scores: exited u3 identify {"score":null}
--= scores: 1 unchanged, 2 suppressed

--@ table blocked
-- user_id
-- nobody

--@ run
--= adults: entered u2 identify {"adults":true}
--= adults: entered u3 identify {"adults":true}
--= adults: 1 unchanged
--= scores: entered u2 identify {"score":30}
--= scores: entered u3 identify {"score":40}
--= scores: 1 unchanged
