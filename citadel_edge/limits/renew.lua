-- A reservation lives on: until `ttl` from now, with what is kept of it if nobody settles it by then.
--
-- KEYS: `r`, `x`. ARGV: the reservation's id; the ttl; of what is kept the requests, tokens and nano-USD; 1 from who
-- knows no more than the id; and in tests the time. Answers: 1, or 0 if it has ended or is not for who knows no more.
local records, index, id = KEYS[1], KEYS[2], ARGV[1]
local record = call('HGET', records, id)
if not record or (ARGV[6] == '1' and is_held(record)) then return 0 end
local now, expires, phase = clock(ARGV[7]), parts('<dd', record)
if phase ~= LIVE or expires <= now then return 0 end
expires = now + tonumber(ARGV[2])
local kept = string.sub(record, 73, 96)
if ARGV[3] ~= '' then kept = pack('<ddd', tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])) end
record = pack('<dd', expires, LIVE) .. string.sub(record, 17, 64) .. kept .. string.sub(record, 89)
call('HSET', records, id, record)
call('ZADD', index, expires, id)
call('PEXPIRE', records, LONG)
call('PEXPIRE', index, LONG)
local flags, _, _, _, _, _, _, _, _, limits, subjects, place = parts('<ddddddddddd', record, 17)
if flags % 4 < 2 then return 1 end
local prefix, names, rest, _ = string.sub(index, 1, -2), {}, place + LIMIT_BYTES * limits, nil
for i = 1, subjects do names[i], _, rest = parts('<Hc0Hc0', record, rest) end
for i = 1, limits do
  local field, subject = parts(LIMIT, record, place + LIMIT_BYTES * (i - 1))
  if field == 0 then
    local key = prefix .. 'l:' .. names[subject]
    call('ZADD', key, expires, id)
    call('PEXPIRE', key, LONG)
  end
end
return 1
