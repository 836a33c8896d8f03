"""The Lua scripts that run in Redis. Each one is atomic.

Functions that several scripts need are at the head of each; the scripts about families of refresh tokens are in
`family_scripts`. Times come from the server, which all processes share.
"""

from typing import Final

from sidecar.stores.redis.lua import Script

# Each stream entry has the id of the previous entry in its field `after`, '' if there was none: a reader that has read that
# one has missed nothing. A stream whose last id is the largest possible one, because some client wrote it, is deleted and
# started again.
#
# The stream keeps `length` entries, and up to ten times as many while the oldest is younger than half a minute: so a reader
# that was away for so long still finds the last entry that it read, and need not load everything again during a storm. Above
# `length`, each new entry removes at most 200 old ones, so that younger ones do not leave together with the first old one.
_APPEND: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

local function append(stream, length, ...)
  local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  local young = first and now * 1000 - tonumber(string.match(first[1], '^%d+')) < 30000
  local most = string.format('%.0f', tonumber(length) * (young and 10 or 1))
  local id = redis.pcall('XADD', stream, 'MAXLEN', '~', most, 'LIMIT', 200, '*', 'after', last and last[1] or '', ...)
  if type(id) == 'table' and string.find(id.err, 'exhausted') then
    redis.call('DEL', stream)
    id = redis.call('XADD', stream, '*', 'after', '', ...)
  end
  if type(id) == 'table' then error(id.err) end
  return id
end
"""

# The set of revocations, and a hash about it, the *state*. Each script counts the set at its beginning and at its end
# (`card`). So the next script notices a set that became smaller in any other way: by eviction, deletion, or a restore of the
# set alone. A heartbeat also notices a change of the server (`run`), and every script notices a missing state. Each such
# event is a *loss*: it is named after its time, even while an earlier loss is `open`. A loss stays open until a process that
# remembers everything has restored what it knows, and all processes had the time to notice the loss (`MAKE_WHOLE`).
#
# Entries leave the set two hours after their end by the server's clock or the caller's, whichever is behind: clocks differ,
# and a process whose clock is behind would accept a token again if its revocation were forgotten too early. Each run removes at
# most 500, which is as many as it adds, and a heartbeat ten times as many. So they also leave when nothing is revoked any more.
_SET: Final = (
    _APPEND
    + """
local function lose(revoked, state, why)
  local moment = string.format('%.6f', now)
  redis.call('HSET', state, 'open', '1', 'loss', moment, 'why', why, 'since', moment, 'card', redis.call('ZCARD', revoked))
end

local function arrive(revoked, state)
  local known = redis.call('HGET', state, 'card')
  local card = tonumber(known or '')
  if not known then
    lose(revoked, state, 'server')
  elseif not card or card < 0 or redis.call('ZCARD', revoked) < card then
    lose(revoked, state, 'count')
  end
end

local function leave(revoked, state, clock, times)
  local over = math.min(now, tonumber(clock)) - 7200
  for _ = 1, times or 1 do
    local gone = redis.call('ZRANGEBYSCORE', revoked, '-inf', string.format('(%.0f', over), 'LIMIT', 0, 500)
    if #gone > 0 then redis.call('ZREM', revoked, unpack(gone)) end
    if #gone < 500 then break end
  end
  local card = redis.call('ZCARD', revoked)
  if redis.call('HGET', state, 'card') ~= tostring(card) then redis.call('HSET', state, 'card', card) end
end
"""
)

# A revocation entry is a token id, a not-before time (`core.revocations`) or the end of a family. Not-before times are also
# stored by their subject, for the rotations. A known entry is not added to the stream again. That makes the script
# idempotent, and it is cheap to offer everything that a worker remembers to a server that lost its data.
REMEMBER: Final = (
    _SET
    + """
local function remember(revoked, stream, not_before, length, entry, till)
  if redis.call('ZADD', revoked, 'GT', 'CH', till, entry) > 0 then
    append(stream, length, 'jti', entry, 'until', till)
  end
  local kind, before, name = string.match(entry, '^ (%a+) (%d+) (.*)$')
  if kind and kind ~= 'family' then
    local known = tonumber(redis.call('HGET', not_before, kind .. ' ' .. name) or '')
    if not known or tonumber(before) > known then
      redis.call('HSET', not_before, kind .. ' ' .. name, before)
      local left = redis.call('TTL', not_before)
      local till = string.format('%.0f', math.min(tonumber(till), 99999999999))
      if left < 0 or now + left < tonumber(till) then redis.call('EXPIREAT', not_before, till) end
    end
  end
end
"""
)

# Returns the names of those required commands that the user may not run. `key` never exists. Each command is called in a way
# that changes nothing; other errors, such as those of a full server, are ignored.
PROBE: Final = Script(
    keys=("key",),
    body="""
local refused = {}
local function try(...)
  local answer = redis.pcall(...)
  local text = type(answer) == 'table' and answer.err or ''
  if string.find(text, 'NOPERM') or string.find(text, 'ACL failure') or string.find(text, "can't run this command") then
    refused[#refused + 1] = string.lower((...))
  end
end
for _, call in ipairs({
  {'GET', key}, {'SET', key, '1', 'XX', 'EX', 1}, {'GETDEL', key}, {'DEL', key}, {'UNLINK', key}, {'EXISTS', key}, {'TTL', key},
  {'EXPIRE', key, 1}, {'EXPIREAT', key, 1}, {'PTTL', key}, {'TYPE', key},
  {'HGET', key, 'a'}, {'HMGET', key, 'a'}, {'HEXISTS', key, 'a'}, {'HDEL', key, 'a'},
  {'ZADD', key, 'XX', 1, 'a'}, {'ZREM', key, 'a'}, {'ZPOPMIN', key}, {'ZCARD', key}, {'ZSCORE', key, 'a'}, {'ZMSCORE', key,
  'a'}, {'ZSCAN', key, 0}, {'ZRANGEBYSCORE', key, 1, 2}, {'ZRANGE', key, 0, 0}, {'ZREVRANGE', key, 0, 0},
  {'ZREMRANGEBYSCORE', key, 1, 2}, {'XADD', key, 'NOMKSTREAM', '*', 'a', 'b'}, {'XRANGE', key, '-', '+'}, {'XREVRANGE', key,
  '+', '-'}, {'XREAD', 'STREAMS', key, '0'}, {'TIME'},
}) do try(unpack(call)) end
try('HSET', key, 'a', '1')
redis.pcall('DEL', key)
return refused
""",
)

# The keys of the scripts that revoke: the set, the stream, the not-before times and the state. `clock` is the caller's, in
# seconds; `length` is about the length of the stream.
REVOCATION_KEYS: Final = ("revoked", "stream", "not_before", "state")

# `revocations`: entry and until of each revocation, in turn.
REVOKE: Final = Script(
    keys=REVOCATION_KEYS,
    args=("clock", "length"),
    more_args="revocations",
    body=REMEMBER
    + """
arrive(revoked, state)
for i = 1, #revocations, 2 do
  remember(revoked, stream, not_before, length, revocations[i], revocations[i + 1])
end
leave(revoked, state, clock)
""",
)

# `last_read` is the last entry that was read ('' at first), `interval` the milliseconds between heartbeats. Returns whether
# that entry is still there; the newest entry, which is a new heartbeat if the last one is too old; the server's time in
# seconds; its run id, '' where INFO is not allowed; the name of the open loss, or ''; the reason of the loss; and for how
# many seconds no process has restored anything since. The script always writes something, so a server that takes no writes is
# noticed at once, and a replica is never taken for its primary.
HEARTBEAT: Final = Script(
    keys=REVOCATION_KEYS,
    args=("clock", "length", "last_read", "interval"),
    body=_SET
    + """
redis.call('HSET', state, 'beat', time[1])
arrive(revoked, state)
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
if run ~= '' and redis.call('HGET', state, 'run') ~= run then
  if redis.call('HEXISTS', state, 'run') == 1 then lose(revoked, state, 'server') end
  redis.call('HSET', state, 'run', run)
end
local present = 1
if last_read ~= '' then present = #redis.call('XRANGE', stream, last_read, last_read) end
local tail = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
local newest = tail[1] and tail[1][1]
if not newest or now * 1000 - tonumber(string.match(newest, '^%d+')) >= tonumber(interval) then
  newest = append(stream, length, 'beat', '1')
end
leave(revoked, state, clock, 10)
local open, loss, why, since, sign = unpack(redis.call('HMGET', state, 'open', 'loss', 'why', 'since', 'sign'))
local last = math.max(tonumber(since or '') or 0, tonumber(sign or '') or 0)
return {present, newest, string.format('%.6f', now), run, open and (loss or '0') or '', why or '',
  string.format('%.6f', math.max(0, now - last))}
""",
)

# Shows waiting processes that revocations are being restored.
SIGN: Final = Script(
    keys=("state",),
    body="""
local time = redis.call('TIME')
redis.call('HSET', state, 'sign', string.format('%d.%06d', time[1], time[2]))
""",
)

# Returns whether a process may restore for this many milliseconds, while no other process does.
TURN: Final = Script(
    keys=("turn", "state"),
    args=("process", "milliseconds"),
    body="""
local kind = redis.call('TYPE', turn).ok
if kind ~= 'string' then redis.call('DEL', turn) end
local holder = redis.call('GET', turn)
if holder and holder ~= process and redis.call('PTTL', turn) >= 0 then return 0 end
redis.call('SET', turn, process, 'PX', milliseconds)
local time = redis.call('TIME')
redis.call('HSET', state, 'sign', string.format('%d.%06d', time[1], time[2]))
return 1
""",
)

# Ends the turn of a process.
END_TURN: Final = Script(
    keys=("turn",),
    args=("process",),
    body="""
if redis.call('TYPE', turn).ok == 'string' and redis.call('GET', turn) == process then redis.call('DEL', turn) end
""",
)

# `given_for` is the name of the loss after which everything was restored, `window` the seconds within which all processes
# notice a loss. Returns 1 when the loss is over, 0 when it is too early to say so, -1 when there was another loss.
MAKE_WHOLE: Final = Script(
    keys=("revoked", "state"),
    args=("given_for", "window"),
    body=_SET
    + """
arrive(revoked, state)
local open, loss, since = unpack(redis.call('HMGET', state, 'open', 'loss', 'since'))
if not open then return 1 end
if loss ~= given_for then return -1 end
if now - (tonumber(since or '') or 0) < tonumber(window) then return 0 end
redis.call('HDEL', state, 'open')
return 1
""",
)

# `rates`: the seconds until full and the interval of each budget. Returns for each budget whether one was taken, the seconds
# until one more is available, and whether it was full. The rules are those of `core.throttling`.
CONSUME: Final = Script(
    more_keys="budgets",
    more_args="rates",
    body="""
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local results = {}
for i, key in ipairs(budgets) do
  local seconds, interval = tonumber(rates[2 * i - 1]), tonumber(rates[2 * i])
  local full_at = tonumber(redis.call('GET', key) or 0)
  local after = math.max(full_at, now) + interval
  local taken, fresh, left = after - now <= seconds + 0.000001, full_at <= now, full_at
  if taken then
    left = after
    redis.call('SET', key, string.format('%.6f', left), 'PX', math.ceil((left - now) * 1000))
  end
  local wait = left + interval - now - seconds
  if wait < 0.000001 then wait = 0 end
  results[i] = {taken and 1 or 0, string.format('%.6f', wait), fresh and 1 or 0}
end
return results
""",
)

# Returns the number that was recorded first.
RECORD: Final = Script(
    keys=("record",),
    args=("count",),
    body="""
local known = redis.call('GET', record)
if not known then
  redis.call('SET', record, count)
  known = count
end
return known
""",
)
