#!lua
-- What the limiter's scripts share: how things are written down, and how a charge is put right. The rules are those
-- of limits/rules.py; limits/gcra.py says the same in Python. All numbers are whole and below 2^53, so doubles are exact.
--
-- Keys, all behind `citadel:limits:{<organisation>}:` and so in one slot:
--   s:<subject>  STATE: 1 when it may be forgotten;
--                2-4 requests and 5-7 tokens a minute: backlog, at, limit;
--                8-11 tokens a day, 12-15 tokens a month, 16-19 USD a month: period, used, taken, limit
--   l:<subject>  sorted set of the reservations that hold a lease, by when they expire
--   r:<id>       RECORD (when it expires, when it is forgotten, LIVE / SWEPT / ENDED), then the order as it came
--   x            sorted set of the LIVE reservations, by when they expire
-- An order (limits/packed.py): flags, ttl, not after, what it stands at (requests, tokens, nano-USD), what is kept of
-- it (the same), number of limits and of subjects; each limit; each subject and its model; then the caller's own bytes.
local call, pack, parts = redis.call, struct.pack, struct.unpack
local STATE, RECORD, LIMIT = '<ddddddddddddddddddd', '<ddd', '<ddddddddd'
local LIVE, SWEPT, ENDED = 0, 1, 2
local DAY, LATE, SETTLED, FINAL = 86400000, 3600000, 60000, 600000
local UNSWEPT, LONG, AFTER_PERIOD, AFTER_TOP_UPS = 7 * DAY, 8 * DAY, 40 * DAY, 400 * DAY
local MOST_BACKLOG, MOST_USED = 3e15, 4e15

local function clock(given)
  if given ~= '' then return tonumber(given) end
  local time = call('TIME')
  return time[1] * 1000 + (time[2] - time[2] % 1000) / 1000
end

-- When a bucket may be forgotten: some time after it is empty.
local function drained_at(now, backlog, limit)
  local wait = limit > 0 and math.ceil(backlog / limit) or 0
  return now + math.min(wait, AFTER_TOP_UPS) + FINAL
end

local function save(key, state, now)
  if state[1] > now then call('SET', key, pack(STATE, unpack(state, 1, 19)), 'PX', state[1] - now) end
end

-- Put a reservation from what it stands at to what was spent, and give its leases back; answers the caller's own bytes.
local function correct(prefix, id, record, now, requests, tokens, nano_usd, model)
  local flags, _, _, requests_before, tokens_before, nano_usd_before, _, _, _, limits, subjects, place =
    parts('<ddddddddddd', record, 25)
  local names, models, keys, place_of_subjects = {}, {}, {}, place + 72 * limits
  for i = 1, subjects do
    names[i], models[i], place_of_subjects = parts('<Hc0Hc0', record, place_of_subjects)
    keys[i] = prefix .. 's:' .. names[i]
  end
  local states = subjects > 0 and call('MGET', unpack(keys)) or {}
  for i = 1, subjects do
    states[i] = states[i] and {parts(STATE, states[i])} or {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
  end
  for _ = 1, limits do
    local field, subject, unit, limit, _, _, period, _, _, next_place = parts(LIMIT, record, place)
    local state, other = states[subject], model ~= '' and models[subject] ~= '' and models[subject] ~= model
    place = next_place
    local before, spent = requests_before, requests
    if unit == 2 then before, spent = tokens_before, tokens elseif unit == 3 then before, spent = nano_usd_before, nano_usd end
    if other then spent = 0 end
    if field == 0 then
      if flags >= 2 then call('ZREM', prefix .. 'l:' .. names[subject], id) end
    elseif field < 8 then
      local backlog, at = state[field], state[field + 1]
      if at == 0 then state[field + 2] = limit end
      if at > 0 and now > at then backlog = math.max(0, backlog - state[field + 2] * (now - at)) end
      backlog = math.min(math.max(0, backlog + (spent - before) * 60000), MOST_BACKLOG)
      state[field], state[field + 1] = backlog, now
      state[1] = math.max(state[1], drained_at(now, backlog, state[field + 2]))
    elseif state[field] == period then
      state[field + 1] = math.min(math.max(0, state[field + 1] + spent - before), MOST_USED)
      if state[field + 1] > state[field + 3] then state[1] = math.max(state[1], now + AFTER_TOP_UPS) end
    end
  end
  for i = 1, subjects do save(keys[i], states[i], now) end
  return string.sub(record, place_of_subjects)
end

-- Set an expired reservation to what it keeps; it may still be settled for some time.
local function sweep(prefix, id, now)
  local key = prefix .. 'r:' .. id
  call('ZREM', prefix .. 'x', id)
  local record = call('GET', key)
  if not record then return end
  local expires, _, phase = parts(RECORD, record)
  if phase ~= LIVE then return end
  local kept = string.sub(record, 73, 96)
  local requests, tokens, nano_usd = parts('<ddd', kept)
  correct(prefix, id, record, now, requests, tokens, nano_usd, '')
  local stands = string.sub(record, 25, 48) .. kept .. string.sub(record, 73)
  call('SET', key, pack(RECORD, expires, now + LATE, SWEPT) .. stands, 'PX', LATE)
end
