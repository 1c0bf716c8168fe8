-- Traits sent as events are one record, and one event, per trait.

--@ table users
-- user_id,score,tier
-- u1,1,base
-- u2,2,

--@ table emails
-- user_id,email,added_at
-- u1,a@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ trait scores -> as = "track", event = "Scored"
SELECT user_id, score, tier FROM users

--@ run
--= scores: entered u1 track "Scored" {"score":1,"trait_key":"score"} {"email":"a@x.org"}
--= scores: entered u1 track "Scored" {"tier":"base","trait_key":"tier"} {"email":"a@x.org"}
--= scores: entered u2 track "Scored" {"score":2,"trait_key":"score"}
--= scores: 1 unchanged

--@ table users
-- user_id,score,tier
-- u1,1,gold
-- u2,,gold

--@ run
--= scores: changed u1 track "Scored" {"tier":"gold","trait_key":"tier"} {"email":"a@x.org"}
--= scores: changed u2 track "Scored" {"score":null,"trait_key":"score"}
--= scores: entered u2 track "Scored" {"tier":"gold","trait_key":"tier"}
--= scores: 1 unchanged

--@ table users
-- user_id,score,tier
-- u2,,gold

--@ run
--= scores: exited u1 track "Scored" {"score":null,"trait_key":"score"} {"email":"a@x.org"}
--= scores: exited u1 track "Scored" {"tier":null,"trait_key":"tier"} {"email":"a@x.org"}
--= scores: 2 unchanged
