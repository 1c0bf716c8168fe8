-- How to reach a user, and since when we know it.
SELECT user_id, 'email' AS type, email AS value, added_at FROM user_emails
