/*
[trait]
name = "Favourite category"
description = "The category a customer bought most CDs of."
sync = [{ to = "file", as = "track" }]
*/
SELECT user_id, first_value(category ORDER BY cds DESC, category) AS favourite_category
FROM (
  SELECT user_id, category, sum(quantity) AS cds
  FROM orders JOIN order_lines USING (order_id)
  WHERE status = 'completed' AND ordered_at <= now()
  GROUP BY user_id, category
)
GROUP BY user_id
