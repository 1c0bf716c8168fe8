-- A record whose reply was lost is settled whichever way the SQL then points: said again, or taken back.

--@ table users
-- user_id,score
-- u1,20
-- u2,30
-- u3,40

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run losing u1 losing u2
--= adults: entered u1 identify {"adults":true}
--= adults: entered u2 identify {"adults":true}
--= adults: entered u3 identify {"adults":true}
--= adults: 2 pending

--@ table users
-- user_id,score
-- u1,20
-- u2,3
-- u3,40

--@ run
--= adults: entered u1 identify {"adults":true}
--= adults: exited u2 identify {"adults":false}
--= adults: 1 unchanged

--@ run
--= adults: 2 unchanged
