-- fields renames columns on their way out, and adds columns of profiles to each message; a change in a profile alone is none.

--@ table users
-- user_id,score
-- u1,20
-- u2,30

--@ table people
-- user_id,name,phone
-- u1,Ada,1
-- u2,Bob,2

--@ query profiles
SELECT user_id, name, phone FROM people

--@ trait scores -> fields = { score = "lead_score", name = "first_name" }
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= scores: entered u1 identify {"first_name":"Ada","lead_score":20}
--= scores: entered u2 identify {"first_name":"Bob","lead_score":30}

--@ table people
-- user_id,name,phone
-- u1,Eda,1
-- u2,Bob,2

--@ run
--= scores: 2 unchanged

--@ table users
-- user_id,score
-- u1,21
-- u2,30

--@ run
--= scores: changed u1 identify {"first_name":"Eda","lead_score":21}
--= scores: 1 unchanged
