-- A calendar counter that was lost says at least what others know was used in the present period.
--
-- KEYS: the subject's state. ARGV: the counter's place in the state; the period's number, start and end; the units used;
-- and in tests the time. Answers nothing.
local field, period, start, finish, used =
  tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local now = clock(ARGV[6])
if now < start or now >= finish then return false end
local state = load_states(KEYS, 1, 1)[1]
if period > state[field] then
  state[field + 2] = math.max(0, state[field + 2] + math.max(0, state[field + 1] - state[field + 3]))
  state[field], state[field + 1], state[field + 3] = period, 0, used
end
state[field + 1] = math.min(math.max(state[field + 1], used), MOST_USED)
live_until(state, finish + (state[field + 2] > 0 and AFTER_TOP_UPS or AFTER_PERIOD))
save(KEYS[1], state, now)
return false
