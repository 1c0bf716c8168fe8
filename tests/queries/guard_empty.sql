-- A model that returns nobody although some were delivered is stopped; once allowed, everybody leaves.

--@ table users
-- user_id,score
-- u1,20
-- u2,30

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u1 identify {"adults":true}
--= adults: entered u2 identify {"adults":true}

--@ table users
-- user_id,score
-- u1,2
-- u2,3

--@ run
--= adults: 2 pending
--= adults: skipped
--= error[G01]: a guard stopped `adults.out`: the model returns no rows, but 2 were delivered
--=   nothing of this sync was sent
--= hint: check the tables and the SQL; if this is right, pass `--allow-large-change` once

--@ run allow_large_change
--= adults: exited u1 identify {"adults":false}
--= adults: exited u2 identify {"adults":false}
