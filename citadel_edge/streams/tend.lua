-- One slot, once a second: the leases of the streams that this instance produces are renewed, and some of those that
-- nobody has renewed become its own.
--
-- A server that was away, or nobody's looks were, has let leases run out whose owners live: they get a moment more. When
-- another server process answers than the last time (it was restarted, or a replica took its place), what was written
-- last may be missing: a stream is in doubt until its producer has been heard, which still knows.
--
-- KEYS: `leases`, `doubt`, `watch`.
-- ARGV: the instance; in ms the lease, the longest time between two looks and that moment; how many streams to take at
-- most; then the id and the fence of each of its own.
-- Answers two lists: of each of its own 1, or -1 if it is another's by now, or -2 if it is not there, its last event,
-- whether it is to stop and how long it is followed; of each that was taken the id, the fence, 1 if it is in doubt, and
-- for how many ms nobody has gone on with it.
local leases, doubt, watch = KEYS[1], KEYS[2], KEYS[3]
local instance, lease, gap = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local moment, most = tonumber(ARGV[4]), tonumber(ARGV[5])
local prefix, now, own, taken = string.sub(leases, 1, -7), clock(), {}, {}

local function server()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
end

local run, looked = server(), call('HMGET', watch, 'run', 'looked')
if looked[1] and looked[1] ~= run then call('ZUNIONSTORE', doubt, 1, leases) end
call('HSET', watch, 'run', run, 'looked', string.format('%.0f', now))

for place = 6, #ARGV, 2 do
  local id, fence = ARGV[place], tonumber(ARGV[place + 1])
  local known = call('HMGET', prefix .. id .. ':m', 'fence', 'last', 'stop', 'followers', 'terminal')
  local theirs, code, last, stop, followed = tonumber(known[1] or 0), 1, 0, 0, 0
  if theirs ~= fence then
    code = theirs > fence and -1 or -2
  else
    last = tonumber(known[2])
    stop, followed = wishes(known[3], known[4], now)
    if not known[5] then call('ZADD', leases, now + lease, id) end
    call('ZREM', doubt, id)
  end
  for _, each in ipairs({code, last, stop, followed}) do own[#own + 1] = each end
end

local late = now - (tonumber(looked[2]) or 0) > gap
for _, id in ipairs(call('ZRANGE', leases, '-inf', now, 'BYSCORE', 'LIMIT', 0, late and -1 or most)) do
  local meta = prefix .. id .. ':m'
  if call('EXISTS', meta) == 0 then
    call('ZREM', leases, id)
    call('ZREM', doubt, id)
  elseif late and call('ZSCORE', leases, id) ~= '0' then
    call('ZADD', leases, now + moment, id)
  elseif not late then
    local fence = call('HINCRBY', meta, 'fence', 1)
    call('HSET', meta, 'by', instance)
    call('ZADD', leases, now + lease, id)
    call('HSETNX', meta, 'orphaned', string.format('%.0f', now))
    local alone = now - call('HGET', meta, 'orphaned')
    for _, each in ipairs({id, fence, call('ZREM', doubt, id), alone}) do taken[#taken + 1] = each end
  end
end
return {own, taken}
