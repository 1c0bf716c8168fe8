/*
[audience]
name = "Active 30 days"
description = "Visited the shop in the last 30 days."
sync = ["file"]
*/
SELECT DISTINCT user_id
FROM web_events
WHERE occurred_at BETWEEN now() - INTERVAL '30 days' AND now()
