-- What a destination refused waits, counts as rejected, and goes again when it changes or is retried. A record
-- that never got in has nothing to take back.

--@ table users
-- user_id,score
-- u1,1
-- u2,2
-- u3,3

--@ trait scores ->
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run refusing u1 refusing u2
--= scores: entered u1 identify {"score":1}
--= scores: entered u2 identify {"score":2}
--= scores: entered u3 identify {"score":3}
--= scores: 2 rejected

--@ table users
-- user_id,score
-- u1,1
-- u2,5
-- u3,3

--@ run refusing u2
--= scores: entered u1 identify {"score":1}
--= scores: entered u2 identify {"score":5}
--= scores: 1 unchanged, 1 rejected

--@ run retrying refusing u2
--= scores: entered u2 identify {"score":5}
--= scores: 2 unchanged, 1 rejected

--@ table users
-- user_id,score
-- u1,1
-- u3,3

--@ run
--= scores: (retired) u2
--= scores: 2 unchanged
