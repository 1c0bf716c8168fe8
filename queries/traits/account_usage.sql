/*
[trait]
name = "Account usage"
description = "How many seats of an account are taken, and how many are left."
sync = ["file"]
*/
SELECT account_id, count(*) AS seats_used, max(seats) - count(*) AS seats_left
FROM accounts JOIN account_members USING (account_id)
WHERE joined_at <= now()
GROUP BY account_id
