/*
[audience]
name = "First time shopper"
description = "Exactly one completed order, ever."
sync = ["file"]
*/
SELECT user_id
FROM orders
WHERE status = 'completed'
GROUP BY user_id
HAVING count(*) = 1
