/*
[audience]
name = "Big spenders"
description = "Spent a hundred dollars or more."
sync = [{ to = "file", as = "track" }]
*/
SELECT user_id, total_revenue
FROM traits.total_revenue
WHERE total_revenue >= 100
