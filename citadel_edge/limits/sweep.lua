-- What is due in an organisation, the longest first: reservations that expired are set to what they keep, then forgotten.
--
-- KEYS: `x`. ARGV: how many at most; and in tests the time. Answers: how many it were.
local index, now = KEYS[1], clock(ARGV[2])
local due = call('ZRANGEBYSCORE', index, 1, now, 'LIMIT', 0, ARGV[1])
for i = 1, #due do sweep(string.sub(index, 1, -2), due[i], now) end
forget(index, now)
return #due
