/*
[audience]
name = "Growing accounts"
description = "Accounts whose members spent more in the last 90 days than in the 90 days before."
sync = ["file"]
*/
SELECT account_id
FROM account_members JOIN orders USING (user_id)
WHERE status = 'completed' AND ordered_at BETWEEN now() - INTERVAL '180 days' AND now()
GROUP BY account_id
HAVING sum(total) FILTER (WHERE ordered_at >= now() - INTERVAL '90 days') > sum(total) / 2
