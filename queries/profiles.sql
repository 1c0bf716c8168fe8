-- What a destination may want to know about a user besides traits.
SELECT user_id, first_name, last_name, first_name || ' ' || last_name AS name, phone, country
FROM users
