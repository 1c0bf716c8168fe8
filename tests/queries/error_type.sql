-- What cannot be sent is refused and named.

--@ table users
-- user_id,score
-- u1,20

--@ trait scores ->
SELECT user_id, arrow_cast(user_id, 'Binary') AS raw, INTERVAL '1 day' AS gap FROM users

--@ run
--= error[Q08]: the column `raw` is of type Binary, which cannot be sent
--=   --> queries/traits/scores.sql:5:50
--=    |
--=  5 | SELECT user_id, arrow_cast(user_id, 'Binary') AS raw, INTERVAL '1 day' AS gap FROM users
--=    |                                                  ^^^
--= hint: cast it, for example `CAST(… AS VARCHAR)`
--=
--= error[Q08]: the column `gap` is of type Interval(MonthDayNano), which cannot be sent
--=   --> queries/traits/scores.sql:5:75
--=    |
--=  5 | SELECT user_id, arrow_cast(user_id, 'Binary') AS raw, INTERVAL '1 day' AS gap FROM users
--=    |                                                                           ^^^
--= hint: cast it, for example `CAST(… AS VARCHAR)`
--=
--= error: 2 findings
