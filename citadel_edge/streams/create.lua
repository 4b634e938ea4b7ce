-- A new stream; or one that is told again, because its producer cannot know whether it was heard, or because the log has
-- lost it.
--
-- KEYS: `m`, `l`, `leases`, and that of a start which is to happen once.
-- ARGV: the id; who produces it; its fence; the first event to come; what stays the same of it; its epochs; the lease
-- and the whole life in ms; 1 if what is there is to be replaced; what was asked for once, and for how many ms.
-- Answers: 1 and the fence; 0 and the id of the stream that the same start began; -1 if it asked for something else; -2
-- and the fence if the stream is another's by now.
local meta, log, leases, once = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, instance, fence, first, head, epochs = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
if once then
  local before = call('GET', once)
  if before and string.sub(before, 1, #id) ~= id and ARGV[9] ~= '1' then
    if string.sub(before, #id + 1) ~= ARGV[10] then return {-1} end
    return {0, string.sub(before, 1, #id)}
  end
  if not before then call('SET', once, id .. ARGV[10], 'PX', ARGV[11]) end
end
local known = tonumber(call('HGET', meta, 'fence') or 0)
if known > fence then return {-2, known} end
if known == fence and ARGV[9] ~= '1' then return {1, fence} end
call('DEL', meta, log)
call('HSET', meta, 'fence', fence, 'by', instance, 'first', first, 'last', first - 1, 'bytes', 0, 'head', head,
  'epochs', epochs)
if once then call('HSET', meta, 'once', once) end
call('PEXPIRE', meta, ARGV[8])
call('ZADD', leases, clock() + ARGV[7], id)
return {1, fence}
