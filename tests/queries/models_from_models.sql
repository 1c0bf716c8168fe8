-- Models select from each other; one without a sync is computed as well.

--@ table users
-- user_id,score
-- u1,20
-- u2,30

--@ trait doubles
SELECT user_id, score * 2 AS double_score FROM users

--@ audience rich ->
SELECT user_id FROM traits.doubles WHERE double_score > 50

--@ audience richest ->
SELECT user_id FROM audiences.rich

--@ run
--= rich: entered u2 identify {"rich":true}
--= richest: entered u2 identify {"richest":true}

--@ table users
-- user_id,score
-- u1,26
-- u2,20

--@ run allow_large_change
--= rich: entered u1 identify {"rich":true}
--= rich: exited u2 identify {"rich":false}
--= richest: entered u1 identify {"richest":true}
--= richest: exited u2 identify {"richest":false}
