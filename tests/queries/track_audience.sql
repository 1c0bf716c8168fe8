-- An audience sent as events enters and exits; its other columns travel, and do not count as changes.

--@ table users
-- user_id,score
-- u1,20
-- u2,30

--@ table emails
-- user_id,email,added_at
-- u1,a@x.org,2024-01-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ audience adults -> as = "track"
SELECT user_id, score FROM users WHERE score >= 18

--@ run
--= adults: entered u1 track "Audience Entered" {"adults":true,"audience_key":"adults","score":20} {"email":"a@x.org"}
--= adults: entered u2 track "Audience Entered" {"adults":true,"audience_key":"adults","score":30}

--@ table users
-- user_id,score
-- u1,21
-- u2,3

--@ run
--= adults: exited u2 track "Audience Exited" {"adults":false,"audience_key":"adults","score":30}
--= adults: 1 unchanged
