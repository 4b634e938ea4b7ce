-- A calendar counter that was lost says at least what others know was used in the present period.
--
-- KEYS: the subject's state. ARGV: the time (empty: the server's), the counter's place in the state, the period's number,
-- start and end, and the units used. Answers nothing.
local now, field, period, used = clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[6])
if now < tonumber(ARGV[4]) or now >= tonumber(ARGV[5]) then return false end
local value = call('GET', KEYS[1])
local state = value and {parts(STATE, value)} or {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
if period > state[field] then
  if state[field + 1] > state[field + 3] then
    state[field + 2] = state[field + 2] + state[field + 1] - state[field + 3]
  end
  state[field], state[field + 1], state[field + 3] = period, 0, used
end
state[field + 1] = math.min(math.max(state[field + 1], used), MOST_USED)
state[1] = math.max(state[1], tonumber(ARGV[5]) + (state[field + 2] > 0 and AFTER_TOP_UPS or AFTER_PERIOD))
save(KEYS[1], state, now)
return false
