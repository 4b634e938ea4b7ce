-- Events of a stream, and how it is; the reader's instance may say that it follows, or does no more.
--
-- KEYS: `m`, `l`.
-- ARGV: the id; the event after which to read; how many bytes are enough; the instance; for how many ms it follows from
-- now on (0: no more; empty: nothing about it is said).
-- Answers: null if there is none; its epochs, first and last event and terminal; then each entry's last event and data.
local meta, log = KEYS[1], KEYS[2]
local id, after, enough, instance, follow = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local known = call('HMGET', meta, 'epochs', 'first', 'last', 'terminal', 'followers', 'by')
if not known[1] then return false end
local answer = {known[1], tonumber(known[2]), tonumber(known[3]), known[4] or ''}
if follow ~= '' then
  local now, others = clock(), {}
  local before = followers(known[5], now, function(name, till)
    if name ~= instance then others[#others + 1] = name .. ':' .. string.format('%.0f', till) end
  end)
  if follow ~= '0' then others[#others + 1] = instance .. ':' .. string.format('%.0f', now + follow) end
  call('HSET', meta, 'followers', table.concat(others, ','))
  if before == 0 and #others > 0 then
    tell(known[6], 'f', id)
  elseif before > 0 and #others == 0 then
    tell(known[6], 'u', id)
  end
end
local bytes = 0
while bytes < enough and after < answer[3] do
  local entries = call('XRANGE', log, after + 1, '+', 'COUNT', 8)
  for i = 1, #entries do
    local entry = entries[i]
    if bytes >= enough then break end
    after = tonumber(string.match(entry[1], '%d+'))
    bytes = bytes + #entry[2][2]
    answer[#answer + 1] = after
    answer[#answer + 1] = entry[2][2]
  end
  if #entries == 0 then break end
end
return answer
