/*
[trait]
name = "Total revenue"
description = "What a customer has spent, in dollars."
sync = ["file"]
*/
SELECT user_id, sum(total) AS total_revenue
FROM orders
WHERE status = 'completed'
GROUP BY user_id
