-- The end of a reservation: what it took becomes what was spent, once.
--
-- KEYS: `r`, `x`. ARGV: the reservation's id; requests, tokens and nano-USD spent; the model that served (empty: the one
-- that was asked for); 1 from who knows no more than the id; and in tests the time.
-- Answers: nothing if it is unknown, was ended before or is not for who knows no more; else whether it had expired (1), and the caller's own bytes.
local records, index, id = KEYS[1], KEYS[2], ARGV[1]
local record = call('HGET', records, id)
if not record or (ARGV[6] == '1' and is_held(record)) then return false end
local expires, phase = parts('<dd', record)
local now = clock(ARGV[7])
local requests, tokens, nano_usd = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local own = correct(string.sub(index, 1, -2), id, record, now, requests, tokens, nano_usd, ARGV[5])
call('HDEL', records, id)
call('ZADD', index, -math.max(now + MINUTE, expires + SLACK), id) -- whoever lent it may tell of it until then
if string.sub(id, -2) == '00' then forget(index, now) end
return {(phase == SWEPT or expires <= now) and 1 or 0, own}
