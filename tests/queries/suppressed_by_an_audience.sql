-- The auxiliary queries select from models as models do, whether these are synced or not.

--@ table users
-- user_id,score,plan,gone
-- u1,20,free,no
-- u2,30,gold,yes
-- u3,40,gold,no

--@ audience gone
SELECT user_id FROM users WHERE gone = 'yes'

--@ audience gold
SELECT user_id FROM users WHERE plan = 'gold'

--@ trait addresses
SELECT user_id, user_id || '@x.org' AS address FROM audiences.gold

--@ query suppressed
SELECT user_id FROM audiences.gone

--@ query identifiers
SELECT user_id, address AS value, 'email' AS type FROM traits.addresses

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u1 identify {"adults":true}
--= adults: entered u3 identify {"adults":true,"email":"u3@x.org"}
--= adults: 1 suppressed

--@ table users
-- user_id,score,plan,gone
-- u1,20,free,yes
-- u2,30,gold,no
-- u3,40,free,no

--@ run
--= adults: entered u2 identify {"adults":true,"email":"u2@x.org"}
--= adults: exited u1 identify {"adults":false}
--= adults: resynced u3 identify {"adults":true}
--= adults: (retired) u3 u3@x.org
--= adults: 1 suppressed
