/*
[audience]
name = "Cart abandoners"
description = "Put something in the cart this week and did not order since. Only newcomers are sent."
sync = [{ to = "file", as = "track", history = false }]
*/
SELECT user_id, last_value(category ORDER BY occurred_at) AS left_behind
FROM web_events
WHERE name IN ('cart_added', 'order_completed')
  AND occurred_at BETWEEN now() - INTERVAL '7 days' AND now()
GROUP BY user_id
HAVING last_value(name ORDER BY occurred_at) = 'cart_added'
