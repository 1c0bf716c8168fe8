-- How to reach a user: every email and telephone number, and since when we know it.
SELECT user_id, 'email' AS type, email AS value, added_at FROM user_emails WHERE added_at <= now()
UNION ALL
SELECT user_id, 'phone', phone, created_at FROM users WHERE phone IS NOT NULL
