-- Somebody wants a stream to stop: its producer is told.
--
-- KEYS: `m`. ARGV: the id. Answers: null if there is none, 0 if it is over, 1 if it will be.
local known = call('HMGET', KEYS[1], 'by', 'terminal')
if not known[1] then return false end
if known[2] then return 0 end
call('HSET', KEYS[1], 'stop', 1)
tell(known[1], 's', ARGV[1])
return 1
