-- A reservation lives on: until `ttl` from now, with what is kept of it if nobody settles it by then.
--
-- KEYS: the reservation's record, the organisation's `x`. ARGV: the time (empty: the server's), the ttl, and of what is
-- kept the requests, tokens and nano-USD. Answers: 1, or 0 if it has ended.
local record = call('GET', KEYS[1])
if not record then return 0 end
local now, ttl, index = clock(ARGV[1]), tonumber(ARGV[2]), KEYS[2]
local expires, _, phase = parts(RECORD, record)
if phase ~= LIVE or expires <= now then return 0 end
local prefix = string.sub(index, 1, -2)
local id = string.sub(KEYS[1], #prefix + 3)
expires = now + ttl
local kept = pack('<ddd', tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]))
local order = string.sub(record, 25, 72) .. kept .. string.sub(record, 97)
call('SET', KEYS[1], pack(RECORD, expires, expires + UNSWEPT, LIVE) .. order, 'PX', ttl + UNSWEPT)
call('ZADD', index, expires, id)
call('PEXPIRE', index, LONG)
local flags, _, _, _, _, _, _, _, _, limits, subjects, place = parts('<ddddddddddd', order)
if flags < 2 then return 1 end
local names, place_of_subjects = {}, place + 72 * limits
for i = 1, subjects do
  local _
  names[i], _, place_of_subjects = parts('<Hc0Hc0', order, place_of_subjects)
end
for i = 1, limits do
  local field, subject = parts(LIMIT, order, place + 72 * (i - 1))
  if field == 0 then
    local key = prefix .. 'l:' .. names[subject]
    call('ZADD', key, expires, id)
    call('PEXPIRE', key, LONG)
  end
end
return 1
