-- Emails are trimmed; blank ones, and identifiers of other types, are none.

--@ table users
-- user_id,score
-- u1,1
-- u2,2

--@ table emails
-- user_id,kind,address
-- u1,Email,"  Ada@X.org "
-- u1,phone,123
-- u2,email,   

--@ query identifiers
SELECT user_id, kind AS type, address AS value FROM emails

--@ trait scores ->
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= scores: entered u1 identify {"email":"Ada@X.org","score":1}
--= scores: entered u2 identify {"score":2}
