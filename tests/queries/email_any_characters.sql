-- An email stays what it is, whatever it holds: what separates the parts of a record key among it.

--@ table users
-- user_id,score
-- ü1,1
-- u2,2

--@ query identifiers
SELECT user_id, 'ö' || chr(1) || user_id || chr(1) || '@x.org' AS value, 'email' AS type FROM users

--@ trait scores ->
SELECT user_id, score FROM users WHERE user_id <> 'x'

--@ run
--= scores: entered u2 identify {"email":"ö\u0001u2\u0001@x.org","score":2}
--= scores: entered ü1 identify {"email":"ö\u0001ü1\u0001@x.org","score":1}

--@ table users
-- user_id,score
-- u2,3

--@ run
--= scores: changed u2 identify {"email":"ö\u0001u2\u0001@x.org","score":3}
--= scores: exited ü1 identify {"email":"ö\u0001ü1\u0001@x.org","score":null}
