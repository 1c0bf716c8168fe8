/*
[trait]
name = "Total revenue 180 days"
description = "What a customer spent in the last 180 days, in dollars."
sync = ["file"]
*/
SELECT user_id, sum(total) AS total_revenue_180_days
FROM orders
WHERE status = 'completed' AND ordered_at BETWEEN now() - INTERVAL '180 days' AND now()
GROUP BY user_id
