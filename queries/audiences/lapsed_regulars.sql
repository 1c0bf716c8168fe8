/*
[audience]
name = "Lapsed regulars"
description = "Ordered five times or more, but not for 90 days, and has not come back to look around."
sync = ["file"]
*/
SELECT user_id, average_order_value
FROM traits.order_summary
WHERE orders_count >= 5
  AND last_order_at < now() - INTERVAL '90 days'
  AND user_id NOT IN (SELECT user_id FROM audiences.active_30_days)
