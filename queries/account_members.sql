-- Which users belong to an account.
SELECT account_id, user_id FROM account_members WHERE joined_at <= now()
