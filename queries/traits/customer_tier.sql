/*
[trait]
name = "Customer tier"
description = "Gold, silver or bronze, by what another model says was spent."
sync = ["file"]
*/
SELECT
  user_id,
  CASE
    WHEN total_revenue_180_days >= 200 THEN 'gold'
    WHEN total_revenue_180_days >= 75 THEN 'silver'
    ELSE 'bronze'
  END AS customer_tier
FROM traits.total_revenue_180_days
