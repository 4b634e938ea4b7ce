-- Whether an order fits all of its limits; taken of all of them or of none, unless it is only asked for (READ).
--
-- KEYS: the reservation's record, the organisation's `x`, a state of each subject, then for each limit of leases its set.
-- ARGV: the time (empty: the server's), the order, 1 to read.
-- Answers: ADMITTED 1, DENIED 0 or STALE -1; the time; and for each limit its amount and what is taken of top-ups.
local now, order, read = clock(ARGV[1]), ARGV[2], ARGV[3] == '1'
local flags, ttl, not_after, requests, tokens, nano_usd, _, _, _, limits, subjects, place = parts('<ddddddddddd', order)
if not_after > 0 and now > not_after then return {-1, now} end

local index, crowded = KEYS[2], read
local prefix = string.sub(index, 1, -2)
if not read then
  local due = call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, 3)
  if due[1] then
    sweep(prefix, due[1], now)
    if due[2] then sweep(prefix, due[2], now) end
    crowded = due[3] ~= nil
  end
end

local values = call('MGET', unpack(KEYS, 1, 2 + subjects))
local states = {}
for i = 1, subjects do
  local value = values[2 + i]
  states[i] = value and {parts(STATE, value)} or {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
end

local answer, takes, fine, stepped_back = {1, now}, {}, true, false
local lease_key, first_limit = 2 + subjects, place
for i = 1, limits do
  local field, subject, unit, limit, burst, lapsed, period, start, finish
  field, subject, unit, limit, burst, lapsed, period, start, finish, place = parts(LIMIT, order, place)
  local state, cost = states[subject], requests
  if unit == 2 then cost = tokens elseif unit == 3 then cost = nano_usd end
  local amount, taken = 0, 0
  if field == 0 then
    lease_key = lease_key + 1
    local key = KEYS[lease_key]
    if read then
      amount = call('ZCOUNT', key, now + 1, '+inf')
    else
      amount = call('ZCARD', key)
      if crowded or amount >= limit then
        call('ZREMRANGEBYSCORE', key, '-inf', now)
        amount = call('ZCARD', key)
      end
    end
    cost = flags >= 2 and 1 or 0
    if cost > 0 and amount >= limit then fine = false end
  elseif field < 8 then
    local at = state[field + 1]
    amount = state[field]
    if now > at then
      amount = amount - limit * (now - at)
      if amount < 0 then amount = 0 end
    elseif now < at then
      stepped_back = true
    end
    cost = cost * 60000
    if cost > 0 and (limit == 0 or (amount > 0 and amount + cost > burst * 60000)) then fine = false end
    local after = amount + cost
    if after > MOST_BACKLOG then after = MOST_BACKLOG; cost = after - amount end
    state[field], state[field + 1], state[field + 2] = after, now, limit
    local forget = drained_at(now, after, limit)
    if forget > state[1] then state[1] = forget end
  else
    if now < start or now >= finish then return {-1, now} end
    amount, taken = state[field + 1], state[field + 2]
    if period > state[field] then
      if amount > state[field + 3] then taken = taken + amount - state[field + 3] end
      amount = 0
      state[field] = period
    elseif period < state[field] then
      local at = place - 24
      order = string.sub(order, 1, at - 1) .. pack('<d', state[field]) .. string.sub(order, at + 8)
    end
    local room = burst + lapsed - taken
    if room > burst then room = burst end
    if room < 0 then room = 0 end
    if cost > 0 and amount + cost > limit + room then fine = false end
    local after = amount + cost
    if after > MOST_USED then after = MOST_USED; cost = after - amount end
    state[field + 1], state[field + 2], state[field + 3] = after, taken, limit
    local forget = finish + AFTER_PERIOD
    if taken > 0 or after > limit then forget = finish + AFTER_TOP_UPS end
    if forget > state[1] then state[1] = forget end
  end
  takes[i] = cost
  answer[2 * i + 1], answer[2 * i + 2] = amount, taken
end

if read then
  if not fine and flags % 2 == 0 then answer[1] = 0 end
  return answer
end
if values[1] then
  local _, forget = parts(RECORD, values[1])
  if now < forget then return answer end
end
if not fine and flags % 2 == 0 then
  answer[1] = 0
  if stepped_back then -- or the bucket would not drain until the clock is again where it was
    place = first_limit
    for i = 1, limits do
      local field, subject = parts(LIMIT, order, place)
      local at = field < 8 and field or field + 1
      if field > 0 then states[subject][at] = states[subject][at] - takes[i] end
      place = place + 72
    end
    for i = 1, subjects do save(KEYS[2 + i], states[i], now) end
  end
  return answer
end

if ttl > 0 then
  local expires, id = now + ttl, string.sub(KEYS[1], #prefix + 3)
  call('SET', KEYS[1], pack(RECORD, expires, expires + UNSWEPT, LIVE) .. order, 'PX', ttl + UNSWEPT)
  call('ZADD', index, expires, id)
  call('PEXPIRE', index, LONG)
  if flags >= 2 then
    for i = 3 + subjects, lease_key do
      call('ZADD', KEYS[i], expires, id)
      call('PEXPIRE', KEYS[i], LONG)
    end
  end
else
  call('SET', KEYS[1], pack(RECORD, now, now + FINAL, ENDED), 'PX', FINAL)
end
for i = 1, subjects do save(KEYS[2 + i], states[i], now) end
for i = 1, limits do answer[2 * i + 1] = answer[2 * i + 1] + takes[i] end
return answer
