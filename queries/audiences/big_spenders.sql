/*
[audience]
name = "Big spenders"
description = "Spent 200 dollars or more in the last 180 days."
sync = ["file"]
*/
SELECT user_id FROM traits.total_revenue_180_days WHERE total_revenue_180_days >= 200
