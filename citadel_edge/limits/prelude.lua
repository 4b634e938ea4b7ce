#!lua
-- What the limiter's scripts share: how things are written down, and how a charge is put right. The rules are those
-- of limits/rules.py; limits/gcra.py says the same in Python. All numbers are whole and below 2^53, so doubles are exact.
--
-- Keys, all behind `citadel:limits:{<organisation>}:` and so in one slot:
--   s:<subject>  STATE: 1 when the key expires;
--                2-4 requests and 5-7 tokens a minute: backlog, at, limit;
--                8-11 tokens a day, 12-15 tokens a month, 16-19 USD a month: period, used, taken, limit;
--                taken are units of top-ups that count which earlier periods used; below 0: so many of this period's
--                were of top-ups that have ended
--                20 until when the other keys need no longer life;
--                21-23 of the three calendars: units of top-ups that are known to have ended
--                A state of another length is none: what it said is lost.
--   l:<subject>  sorted set of the reservations that hold a lease, by when they expire
--   r            hash of the records of reservations: when it expires, 1 if it was swept, and its order
--   x            sorted set of these, by when they are due: to be swept, then to be forgotten; and of those that ended,
--                by when they may be forgotten, below 0
-- An order (limits/packed.py): flags, ttl, not after, what it stands at (requests, tokens, nano-USD), what is kept of
-- it (the same), number of limits and of subjects; each limit; each subject and its model; then the caller's own bytes.
local call, pack, parts = redis.call, struct.pack, struct.unpack
local STATE, LIMIT = '<' .. string.rep('d', 23), '<BBBdddddd'
local STATE_BYTES, SHORT_STATE_BYTES, LIMIT_BYTES = 184, 160, 51 -- a short one is of before there was 21-23
local LIVE, SWEPT = 0, 1
local MINUTE, HOUR, DAY = 60000, 3600000, 86400000
local SLACK = 10000
local LONG, AFTER_PERIOD, AFTER_TOP_UPS = 9 * DAY, 40 * DAY, 400 * DAY
local MOST_BACKLOG, MOST_USED = 3e15, 4e15

local function clock(given)
  if given then return tonumber(given) end
  local time = call('TIME')
  return time[1] * 1000 + (time[2] - time[2] % 1000) / 1000
end

-- The states of some subjects: 23 numbers each, and at 24 whether the key has its expiry (0: it has not).
local function load_states(keys, first, last)
  if first > last then return {} end
  local values = call('MGET', unpack(keys, first, last))
  for i = 1, last - first + 1 do
    local value = values[i]
    if value and #value == SHORT_STATE_BYTES then value = value .. string.rep('\0', 24) end
    if value and #value == STATE_BYTES then
      values[i] = {parts(STATE, value)}
    else
      values[i] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
    end
  end
  return values
end

local function save(key, state, now)
  local value = pack(STATE, unpack(state, 1, 23))
  if state[24] ~= 0 then
    call('SET', key, value, 'KEEPTTL')
  elseif state[1] > now then
    call('SET', key, value, 'PX', state[1] - now)
  end
end

local function live_until(state, time)
  if time > state[1] then state[1], state[24] = time, 0 end
end

-- A bucket lives longer than it drains.
local function outlive(state, now, backlog, limit)
  if limit > 0 and backlog > (state[1] - now) * limit then
    live_until(state, now + math.min(math.ceil(backlog / limit) + DAY, AFTER_TOP_UPS))
  end
end

-- Whether only its owner ends it.
local function is_held(record) return parts('<d', record, 17) % 16 >= 8 end

-- Put a reservation from what it stands at to what was spent, and give its leases back; answers the caller's own bytes.
-- It comes before its reservation is written: while a cluster moves these keys it fails, and then nothing has changed.
local function correct(prefix, id, record, now, requests, tokens, nano_usd, model)
  local flags, _, _, requests_before, tokens_before, nano_usd_before, _, _, _, limits, subjects, place =
    parts('<ddddddddddd', record, 17)
  local names, models, keys, rest = {}, {}, {}, place + LIMIT_BYTES * limits
  for i = 1, subjects do
    names[i], models[i], rest = parts('<Hc0Hc0', record, rest)
    keys[i] = prefix .. 's:' .. names[i]
  end
  local states = load_states(keys, 1, subjects)
  for _ = 1, limits do
    local field, subject, unit, limit, period, more, _
    field, subject, unit, limit, _, _, period, _, _, place = parts(LIMIT, record, place)
    local state, elsewhere = states[subject], model ~= '' and models[subject] ~= '' and models[subject] ~= model
    if unit == 1 then
      more = (elsewhere and 0 or requests) - requests_before
    elseif unit == 2 then
      more = (elsewhere and 0 or tokens) - tokens_before
    else
      more = (elsewhere and 0 or nano_usd) - nano_usd_before
    end
    if field == 0 then
      if flags % 4 >= 2 then call('ZREM', prefix .. 'l:' .. names[subject], id) end
    elseif field < 8 then
      local backlog, at = state[field], state[field + 1]
      if at == 0 then state[field + 2] = limit else limit = state[field + 2] end
      if now > at then backlog = math.max(0, backlog - limit * (now - at)) end
      backlog = math.min(math.max(0, backlog + more * 60000), MOST_BACKLOG)
      state[field], state[field + 1] = backlog, now
      outlive(state, now, backlog, limit)
    elseif state[field] == period then
      local used = math.min(math.max(0, state[field + 1] + more), MOST_USED)
      state[field + 1] = used
      if used > state[field + 3] then live_until(state, now + AFTER_TOP_UPS) end
    end
  end
  for i = 1, subjects do save(keys[i], states[i], now) end
  return string.sub(record, rest)
end

-- What is due: a reservation that expired is set to what it keeps and may still be settled for an hour; then it is
-- forgotten.
local function sweep(prefix, id, now)
  local records, index = prefix .. 'r', prefix .. 'x'
  local record, expires, phase = call('HGET', records, id), 0, SWEPT
  if record then expires, phase = parts('<dd', record) end
  if phase == SWEPT then
    call('ZREM', index, id)
    call('HDEL', records, id)
    return
  end
  local kept = string.sub(record, 65, 88)
  local requests, tokens, nano_usd = parts('<ddd', kept)
  correct(prefix, id, record, now, requests, tokens, nano_usd, '')
  call('ZADD', index, now + HOUR, id)
  call('HSET', records, id, pack('<dd', expires, SWEPT) .. string.sub(record, 17, 40) .. kept .. string.sub(record, 65))
end

-- The ids of those that ended and may be forgotten.
local function forget(index, now) call('ZREMRANGEBYSCORE', index, -now, 0) end

-- Whether a reservation lives, or ended not long ago.
local function knows(index, id, now)
  local due = tonumber(call('ZSCORE', index, id) or 0)
  return due > 0 or due < -now
end
