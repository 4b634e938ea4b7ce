-- Whether an order fits all of its limits; taken of all of them or of none, unless it is only asked for.
--
-- KEYS: `r`, `x`, a state of each subject, then for each limit of leases its set.
-- ARGV: the order, the reservation's id, and in tests the time.
-- Answers: ADMITTED 1, DENIED 0 or STALE -1; the time; each limit's amount; and if any is not 0, what each one's earlier
-- periods took of top-ups.
local order, id = ARGV[1], ARGV[2]
local flags, ttl, not_after, requests, tokens, nano_usd, _, _, _, limits, subjects, place = parts('<ddddddddddd', order)
local now = clock(ARGV[3])
if not_after > 0 and now > not_after then return {-1, now} end
local force, leases, read = flags % 2 == 1, flags % 4 >= 2, flags % 8 >= 4
local records, index, crowded = KEYS[1], KEYS[2], read -- there may be leases that expired and were not swept

if not read and call('ZCOUNT', index, 1, now) > 0 then
  local prefix = string.sub(index, 1, -2)
  for _, due in ipairs(call('ZRANGEBYSCORE', index, 1, now, 'LIMIT', 0, 2)) do sweep(prefix, due, now) end
  crowded = true
end

local states = load_states(KEYS, 3, 2 + subjects)
local answer, takes, top_ups, short_lived = {1, now}, {}, nil, nil
local fine, stepped_back, extend, first_place, lease_key = true, false, subjects == 0, place, 2 + subjects
for i = 1, limits do
  local field, subject, unit, limit, burst, lapsed, period, start, finish
  field, subject, unit, limit, burst, lapsed, period, start, finish, place = parts(LIMIT, order, place)
  local state, cost, amount = states[subject], requests, 0
  if unit == 2 then cost = tokens elseif unit == 3 then cost = nano_usd end
  if field == 0 then
    lease_key = lease_key + 1
    local key = KEYS[lease_key]
    cost = leases and 1 or 0
    if not crowded then amount = call('ZCARD', key) end
    if crowded or amount >= limit then amount = call('ZCOUNT', key, now + 1, '+inf') end -- without expired ones
    if amount == 0 or state[20] < now then
      short_lived = short_lived or {}
      short_lived[lease_key] = true
    end
    if cost > 0 and amount >= limit then fine = false end
  elseif field < 8 then -- a rate
    local at = state[field + 1]
    amount = state[field]
    if now > at then
      amount = amount - limit * (now - at)
      if amount < 0 then amount = 0 end
    elseif now < at then
      stepped_back = true
    end
    cost = cost * 60000
    local after = amount + cost
    if cost > 0 and (limit == 0 or (amount > 0 and after > burst * 60000)) then fine = false end
    if after > MOST_BACKLOG then
      after = MOST_BACKLOG
      cost = after - amount
    end
    state[field], state[field + 1], state[field + 2] = after, now, limit
    outlive(state, now, after, limit)
  else -- a calendar's; what a rate calls its burst are its top-ups
    if now < start or now >= finish then return {-1, now} end
    local known, taken, ended = state[field], state[field + 2], 19 + field / 4
    amount = state[field + 1]
    if period > known then
      taken = math.max(0, taken + math.max(0, amount - state[field + 3]))
      amount = 0
      state[field] = period
    elseif period < known then -- the clock stepped back: it goes on in the period that it is counted in
      local at = place - 24
      order = string.sub(order, 1, at - 1) .. pack('<d', known) .. string.sub(order, at + 8)
    end
    local over = math.max(0, amount - limit)
    taken = math.max(taken, -over)
    if lapsed > state[ended] then -- what these were used for is not of those that count
      taken = taken - math.min(taken + over, lapsed - state[ended])
      state[ended] = lapsed
    end
    local room = math.max(0, burst - taken)
    local after = amount + cost
    if cost > 0 and after > limit + room then fine = false end
    if after > MOST_USED then
      after = MOST_USED
      cost = after - amount
    end
    state[field + 1], state[field + 2], state[field + 3] = after, taken, limit
    if taken ~= 0 then
      top_ups = top_ups or {}
      top_ups[i] = taken
    end
    live_until(state, finish + ((taken > 0 or after > limit) and AFTER_TOP_UPS or AFTER_PERIOD))
  end
  takes[i] = cost
  answer[2 + i] = amount
end
if top_ups then
  for i = 1, limits do answer[2 + limits + i] = top_ups[i] or 0 end
end

if not fine and not force then
  if read or not knows(index, id, now) then answer[1] = 0 end
  if answer[1] == 0 and stepped_back and not read then -- or buckets would not drain until it is then again
    place = first_place
    for i = 1, limits do
      local field, subject = parts(LIMIT, order, place)
      local at = field < 8 and field or field + 1
      if field > 0 then states[subject][at] = states[subject][at] - takes[i] end
      place = place + LIMIT_BYTES
    end
    for i = 1, subjects do save(KEYS[2 + i], states[i], now) end
  end
  return answer
end
if read then return answer end

local due = ttl > 0 and now + ttl or -(now + 10 * MINUTE)
if call('ZADD', index, 'NX', due, id) == 0 then
  if knows(index, id, now) then return answer end -- it was taken before
  call('ZADD', index, due, id)
end
if ttl > 0 then call('HSET', records, id, pack('<dd', due, LIVE) .. order) end
if leases then
  for i = 3 + subjects, lease_key do
    call('ZADD', KEYS[i], due, id)
    if short_lived and short_lived[i] then
      call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now - LONG) -- such whose records were lost
      call('PEXPIRE', KEYS[i], LONG)
    end
  end
end
for i = 1, subjects do
  local state = states[i]
  if state[20] < now then
    state[20] = now + DAY
    live_until(state, now + 2 * DAY)
    extend = true
  end
  save(KEYS[2 + i], state, now)
end
if extend then
  -- Members that stay keep the keys, and so their expiry; one so long makes a set large at once.
  call('HSET', records, '', '')
  call('ZADD', index, '+inf', string.rep('-', 65))
  call('PEXPIRE', records, LONG)
  call('PEXPIRE', index, LONG)
end
for i = 1, limits do answer[2 + i] = answer[2 + i] + takes[i] end
return answer
