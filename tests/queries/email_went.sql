-- An email that alone went is dropped silently; the user who leaves later leaves under those that stayed.

--@ table users
-- user_id,score
-- u1,20
-- u2,30

--@ table emails
-- user_id,email,added_at
-- u1,ada@x.org,2024-01-01
-- u1,ada@y.org,2024-02-01

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, added_at FROM emails

--@ audience adults ->
SELECT user_id FROM users WHERE score >= 18

--@ run
--= adults: entered u1 identify {"adults":true,"email":"ada@x.org"}
--= adults: entered u1 identify {"adults":true,"email":"ada@y.org"}
--= adults: entered u2 identify {"adults":true}

--@ table emails
-- user_id,email,added_at
-- u1,ada@y.org,2024-02-01

--@ run
--= adults: (retired) u1 ada@x.org
--= adults: 2 unchanged

--@ table users
-- user_id,score
-- u1,2
-- u2,30

--@ run
--= adults: exited u1 identify {"adults":false,"email":"ada@y.org"}
--= adults: 1 unchanged
