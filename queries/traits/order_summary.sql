/*
[trait]
name = "Order summary"
description = "How often, when last, and for how much a customer orders: three traits of one query."
sync = ["file"]
*/
SELECT
  user_id,
  count(*) AS orders_count,
  max(ordered_at) AS last_order_at,
  round(avg(total), 2) AS average_order_value
FROM orders
WHERE status = 'completed' AND ordered_at <= now()
GROUP BY user_id
