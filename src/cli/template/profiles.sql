-- Names and countries, for destinations that ask for them.
SELECT user_id, first_name, last_name, country FROM users
