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
local leases, answer, now = KEYS[1], {}, nil

local function add(meta, log, last, bytes, first, data, most)
  call('XADD', log, last .. '-0', 'd', data)
  if bytes == 0 then call('PEXPIRE', log, ARGV[2]) end
  bytes = bytes + #data
  if bytes <= most then
    call('HSET', meta, 'last', last, 'bytes', bytes)
    return first
  end
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

local function finish(meta, log, id, last_word)
  call('ZREM', leases, id)
  call('PEXPIRE', meta, ARGV[1])
  call('PEXPIRE', log, ARGV[1])
  if last_word == 'd' then discard(meta, log, id) end
end

local function followed(id, following, news)
  now = now or clock()
  return math.max(0, followers(following, now, news and function(name) tell(name, 'n', id) end) - now)
end

-- Runs for every token: nothing is called or made that a stream with nothing but events can do without.
local function write(meta, log, place)
  local known = call('HMGET', meta, 'fence', 'first', 'last', 'bytes', 'stop', 'followers')
  local theirs, fence = tonumber(known[1] or 0), tonumber(ARGV[place + 1])
  if theirs ~= fence then return theirs > fence and -1 or -2, 0, 0, 0, 0 end
  local first, last, upto = tonumber(known[2]), tonumber(known[3]), tonumber(ARGV[place + 3])
  local terminal, last_word = ARGV[place + 8], ARGV[place + 9]
  local news = terminal ~= ''
  if upto > last then
    if tonumber(ARGV[place + 2]) ~= last + 1 then return -3, first, last, 0, 0 end
    first = add(meta, log, ARGV[place + 3], tonumber(known[4]), first, ARGV[place + 4], tonumber(ARGV[3]))
    last, news = upto, true
    if fence > 1 then call('HDEL', meta, 'orphaned') end
  end
  note(meta, 'epochs', ARGV[place + 5])
  note(meta, 'begun', ARGV[place + 6])
  note(meta, 'reserved', ARGV[place + 7])
  note(meta, 'terminal', terminal)
  if terminal ~= '' then
    finish(meta, log, ARGV[place], last_word)
  elseif last_word == 'g' then
    call('ZADD', leases, 0, ARGV[place])
  end
  return 1, first, last, known[5] and 1 or 0, known[6] and followed(ARGV[place], known[6], news) or 0
end

local at = 0
for place = 4, #ARGV, FIELDS do
  local key = 2 * (place - 4) / FIELDS
  answer[at + 1], answer[at + 2], answer[at + 3], answer[at + 4], answer[at + 5] = write(KEYS[key + 2], KEYS[key + 3], place)
  at = at + 5
end
return answer
