-- now(), current_date and current_timestamp say the run's time, or --as-of.

--@ table users
-- user_id,score
-- u1,1

--@ trait clock ->
SELECT user_id, now() AS at, current_date AS day, date_trunc('month', current_timestamp) AS month FROM users

--@ run as_of 1998-05-31T12:30:00Z
--= clock: entered u1 identify {"at":"1998-05-31T12:30:00Z","day":"1998-05-31","month":"1998-05-01T00:00:00Z"}

--@ run as_of 1998-05-31T12:30:00Z
--= clock: 1 unchanged

--@ run
--= clock: changed u1 identify {"at":"2026-01-03T00:00:00Z","day":"2026-01-03","month":"2026-01-01T00:00:00Z"}
