-- A query that fails on a row ends the run before anything is sent, and does not show
-- the row's value.

--@ table users
-- user_id,score
-- u1,20
-- u2,x1

--@ trait scores ->
SELECT user_id, CAST(score AS BIGINT) AS score FROM users

--@ run
--= error[Q04]: arrow error: Cast error: Cannot cast string '…' to value of Int64 type
--=   --> queries/traits/scores.sql
--=   while computing trait `scores`
--= hint: try the query with `muster query`; the dialect is DataFusion's
