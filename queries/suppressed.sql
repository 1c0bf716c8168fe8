-- Users who unsubscribed: nothing about them is sent, whatever a model says.
SELECT user_id FROM unsubscribed WHERE since <= current_date
