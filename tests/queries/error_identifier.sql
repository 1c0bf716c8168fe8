-- Identifiers that fail on a row end the run the same way, although nobody is matched by
-- anything but emails and they are computed together with them.

--@ table users
-- user_id,email,since
-- u1,ada@x.example,2026-01-01
-- u2,bo@x.example,soon

--@ query identifiers
SELECT user_id, 'email' AS type, email AS value, CAST(since AS TIMESTAMP) AS added_at FROM users

--@ audience all ->
SELECT user_id FROM users

--@ run
--= error[Q04]: arrow error: Parser error: Error parsing timestamp from '…': timestamp must contain at least 10 characters
--=   --> queries/identifiers.sql
--=   while computing `identifiers`
--= hint: try the query with `muster query`; the dialect is DataFusion's
