-- What some streams of one slot have to say, each all or nothing.
--
-- KEYS: `leases`, then `m` and `l` of each.
-- ARGV: how long in ms a stream lives on when it is over, and how long while it is not; how many bytes of one are kept;
-- then of each the id, the fence, the numbers of the first and the last event (0: none), the events, and where they are
-- new its epochs, what is known since it has begun, its reservations, its terminal; and if this is the last word of its
-- producer without one, `g` when another is to go on with it, `d` when it has never been.
-- Answers of each: 1, and -1 if it is another's by now, -2 if there is no such stream or one of an earlier producer, -3
-- if events are missing before these; its first and last event; whether it is to stop; how long it is followed.
local FIELDS = 10
local DISCARDED_MS = 10000
local leases, now, answer = KEYS[1], clock(), {}

local function add(meta, log, last, bytes, first, data, most)
  call('XADD', log, last .. '-0', 'd', data)
  if bytes == 0 then call('PEXPIRE', log, ARGV[2]) end
  bytes = bytes + #data
  while bytes > most do
    local oldest = call('XRANGE', log, '-', '+', 'COUNT', 2)
    if #oldest < 2 then break end
    call('XDEL', log, oldest[1][1])
    bytes = bytes - #oldest[1][2][2]
    first = string.match(oldest[1][1], '%d+') + 1
  end
  call('HSET', meta, 'last', last, 'bytes', bytes, 'first', first)
  return first
end

-- It stays for those who read it already; its start under a key may happen again.
local function discard(meta, log, id)
  local once = call('HGET', meta, 'once')
  if once and string.sub(call('GET', once) or '', 1, #id) == id then call('DEL', once) end
  call('PEXPIRE', meta, DISCARDED_MS)
  call('PEXPIRE', log, DISCARDED_MS)
end

local function note(meta, field, value)
  if value ~= '' then call('HSET', meta, field, value) end
end

local function write(meta, log, id, fence, from, upto, data, epochs, begun, reserved, terminal, last_word)
  local known = call('HMGET', meta, 'fence', 'first', 'last', 'bytes', 'stop', 'followers', 'orphaned')
  local theirs = tonumber(known[1] or 0)
  if theirs ~= fence then return theirs > fence and -1 or -2, 0, 0, 0, 0 end
  local first, last, news = tonumber(known[2]), tonumber(known[3]), terminal ~= ''
  if upto > last then
    if from ~= last + 1 then return -3, first, last, 0, 0 end
    first, last, news = add(meta, log, upto, tonumber(known[4]), first, data, tonumber(ARGV[3])), upto, true
    if known[7] then call('HDEL', meta, 'orphaned') end
  end
  note(meta, 'epochs', epochs)
  note(meta, 'begun', begun)
  note(meta, 'reserved', reserved)
  note(meta, 'terminal', terminal)
  if terminal ~= '' then
    call('ZREM', leases, id)
    call('PEXPIRE', meta, ARGV[1])
    call('PEXPIRE', log, ARGV[1])
    if last_word == 'd' then discard(meta, log, id) end
  elseif last_word == 'g' then
    call('ZADD', leases, 0, id)
  end
  local stop, followed = wishes(known[5], known[6], now, news and function(name) tell(name, 'n', id) end)
  return 1, first, last, stop, followed
end

for place = 4, #ARGV, FIELDS do
  local stream = (place - 4) / FIELDS
  local id, fence, from, upto = ARGV[place], tonumber(ARGV[place + 1]), tonumber(ARGV[place + 2]), tonumber(ARGV[place + 3])
  local said = {write(KEYS[2 + 2 * stream], KEYS[3 + 2 * stream], id, fence, from, upto, unpack(ARGV, place + 4, place + FIELDS - 1))}
  for i = 1, 5 do answer[#answer + 1] = said[i] end
end
return answer
