-- Two columns of one name cannot be told apart.

--@ table users
-- user_id,score
-- u1,20

--@ trait scores ->
SELECT user_id, score AS x, score + 1 AS x FROM users

--@ run
--= error[Q04]: projections require unique expression names but the expression "users.score AS x" at position 1 and "users.score + Int64(1) AS x" at position 2 have the same name. Consider aliasing ("AS") one of them.
--=   --> queries/traits/scores.sql
--= hint: try the query with `muster query`; the dialect is DataFusion's
