-- Expired reservations of an organisation are set to what they keep, the longest expired first.
--
-- KEYS: the organisation's `x`. ARGV: the time (empty: the server's), how many at most. Answers: how many it were.
local now = clock(ARGV[1])
local prefix = string.sub(KEYS[1], 1, -2)
local due = call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])
for i = 1, #due do sweep(prefix, due[i], now) end
return #due
