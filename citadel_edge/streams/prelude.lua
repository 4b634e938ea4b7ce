-- What every script begins with.
local call = redis.call

-- Milliseconds since 1970, by the server.
local function clock()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- An instance that cannot be told looks every second.
local function tell(instance, kind, id) redis.pcall('PUBLISH', 'citadel:streams:to:' .. instance, kind .. id) end

-- Who reads elsewhere, `name:until,…`: call `each(name, until)` for those whose time is not over; answers the latest.
local function followers(text, now, each)
  local latest = 0
  for name, till in string.gmatch(text or '', '([^:,]+):(%d+)') do
    till = tonumber(till)
    if till > now then
      latest = math.max(latest, till)
      if each then each(name, till) end
    end
  end
  return latest
end

-- A stream's answer to its producer: whether it is to stop, and for how many milliseconds more somebody follows it.
local function wishes(stop, following, now, each)
  return stop and 1 or 0, math.max(0, followers(following, now, each) - now)
end
