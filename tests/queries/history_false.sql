-- Without history the first run records a baseline and sends nothing.

--@ table users
-- user_id,score
-- u1,20
-- u2,30

--@ audience adults -> history = false
SELECT user_id FROM users WHERE score >= 18

--@ trait scores -> history = false
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= adults: (adopted) u1
--= adults: (adopted) u2
--= adults: 2 unchanged
--= scores: (adopted) u1
--= scores: (adopted) u2
--= scores: 2 unchanged

--@ table users
-- user_id,score
-- u1,20
-- u2,3
-- u3,40

--@ run
--= adults: entered u3 identify {"adults":true}
--= adults: exited u2 identify {"adults":false}
--= adults: 1 unchanged
--= scores: changed u2 identify {"score":3}
--= scores: entered u3 identify {"score":40}
--= scores: 1 unchanged
