-- A record without a required profile column is invalid: counted, not sent. It enters once the column is there,
-- and one that was sent before can still leave.

--@ grain required

--@ table users
-- user_id,score
-- u1,20
-- u2,30
-- u3,40

--@ table people
-- user_id,name,phone
-- u1,Ada,
-- u2,,

--@ query profiles
SELECT user_id, name, phone FROM people

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u1 identify {"adults":true,"name":"Ada"}
--= adults: 2 invalid
--= warning[R03]: `adults.out` cannot send everybody: no `name` in profiles (2)
--= hint: `muster rejected adults.out` lists them once a run has computed them

--@ table people
-- user_id,name,phone
-- u1,Ada,
-- u2,Bob,
-- u3,Cyd,

--@ run
--= adults: entered u2 identify {"adults":true,"name":"Bob"}
--= adults: entered u3 identify {"adults":true,"name":"Cyd"}
--= adults: 1 unchanged

--@ table people
-- user_id,name,phone
-- u1,,
-- u2,Bob,
-- u3,Cyd,

--@ run
--= adults: 2 unchanged, 1 invalid
--= warning[R03]: `adults.out` cannot send everybody: no `name` in profiles (1)
--= hint: `muster rejected adults.out` lists them once a run has computed them

--@ table users
-- user_id,score
-- u1,2
-- u2,30
-- u3,40

--@ run
--= adults: exited u1 identify {"adults":false}
--= adults: 2 unchanged
