-- All that is wrong is said at once.

--@ table users
-- user_id,score
-- u1,20

--@ audience adults ->
SELECT user_id FROM nowhere

--@ trait scores ->
SELECT user_id, colour FROM users

--@ audience third -> evnt = "x"
SELECT user_id FROM users

--@ run
--= error[H02]: unknown key `evnt` in `sync`
--=   --> queries/audiences/third.sql:3:23
--=    |
--=  3 | sync = [{ to = "out", evnt = "x" }]
--=    |                       ^^^^ not a key of `sync`
--=   known keys: `to`, `as`, `event`, `on_missing`, `identifiers`, `list`, `fields`, `history`, `resync_on_new_identifier`, `every`, `guard`
--= hint: did you mean `event`?
--=
--= error[Q03]: there is no table `nowhere`
--=   --> queries/audiences/adults.sql:5:21
--=    |
--=  5 | SELECT user_id FROM nowhere
--=    |                     ^^^^^^^ not a table, trait or audience
--=   known: `users`, `audiences.adults`, `traits.scores`, `audiences.third`
--= hint: put it into the `data` folder, or into `[tables]`
--=
--= error[Q05]: there is no column `colour`
--=   --> queries/traits/scores.sql:5:17
--=    |
--=  5 | SELECT user_id, colour FROM users
--=    |                 ^^^^^^ not a column here
--=   columns: `user_id`, `score`
--= hint: see the columns with `muster query 'SELECT * FROM table LIMIT 1'`
--=
--= error: 3 findings
