-- The end of a reservation: what it took becomes what was spent, once.
--
-- KEYS: the reservation's record, the organisation's `x`. ARGV: the time (empty: the server's), requests, tokens and
-- nano-USD spent, the model that served (empty: the one that was asked for).
-- Answers: nothing if it is unknown or was ended before; else whether it had expired (1), and the caller's own bytes.
local record = call('GET', KEYS[1])
if not record then return false end
local now = clock(ARGV[1])
local expires, forget, phase = parts(RECORD, record)
if phase == ENDED or now >= forget then return false end
local index = KEYS[2]
local prefix = string.sub(index, 1, -2)
local id = string.sub(KEYS[1], #prefix + 3)
call('SET', KEYS[1], pack(RECORD, expires, now + SETTLED, ENDED), 'PX', SETTLED)
if phase == LIVE then call('ZREM', index, id) end
local own = correct(prefix, id, record, now, tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5])
return {(phase == SWEPT or expires <= now) and 1 or 0, own}
