-- Models that select from each other in a circle are refused, all of the circle named.

--@ audience ping ->
SELECT user_id FROM audiences.pong

--@ audience pong ->
SELECT user_id FROM audiences.pang

--@ audience pang ->
SELECT user_id FROM audiences.ping

--@ run
--= error[Q10]: models select from each other in a circle: `pang` → `ping` → `pong` → `pang`
--=   --> queries/audiences/pang.sql:5:31
--=    |
--=  5 | SELECT user_id FROM audiences.ping
--=    |                               ^^^^
--= hint: take one of them out of the circle by selecting from the tables instead
