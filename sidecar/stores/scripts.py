"""The Lua functions that run in Redis: each is one step that nobody can come between.

What several need stands once, at the head of each. Times come from the server, which all processes share; the rules of the
families are those of `core.refresh`, and the contract tests hold both sides to them.
"""

from typing import Final

# Each entry of the stream names the one `after` which it came, '' for none: whoever has read that one has missed nothing.
_APPEND: Final = """
local function append(stream, length, ...)
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  return redis.call('XADD', stream, 'MAXLEN', '~', length, '*', 'after', last and last[1] or '', ...)
end
"""

# The set of revocations, and a hash about it, the *state*. Each script counts the set when it comes and when it goes
# (`card`), so that a set which somebody else has made smaller is noticed by whoever comes next: it was evicted, deleted or
# restored on its own. Then the state says `lost`, a mark, until a process that remembers everything has given back what it
# knows.
#
# Entries leave the set when they have been over for two hours by the server's clock and by the caller's, whichever is behind:
# clocks differ, and a process whose clock is late would admit again what is forgotten too early.
_SET: Final = (
    _APPEND
    + """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

local function arrive(revoked, state)
  local known = tonumber(redis.call('HGET', state, 'card') or 0)
  if known and redis.call('ZCARD', revoked) < known and redis.call('HEXISTS', state, 'lost') == 0 then
    redis.call('HSET', state, 'lost', time[1] .. '.' .. time[2])
  end
end

local function leave(revoked, state, clock)
  local over = math.min(now, tonumber(clock)) - 7200
  local gone = redis.call('ZRANGEBYSCORE', revoked, '-inf', string.format('(%.0f', over), 'LIMIT', 0, 500)
  if #gone > 0 then redis.call('ZREM', revoked, unpack(gone)) end
  local card = redis.call('ZCARD', revoked)
  if redis.call('HGET', state, 'card') ~= tostring(card) then redis.call('HSET', state, 'card', card) end
end
"""
)

# An entry of the revocations: a token id, a cutoff (`core.revocations`), which is kept by what it is about as well, for the
# rotations, or the end of a family. What is known already is not said again: that makes it idempotent, and cheap to offer a
# server that lost its data what every worker remembers.
_REMEMBER: Final = (
    _SET
    + """
local function remember(revoked, stream, cutoffs, length, entry, till)
  if redis.call('ZADD', revoked, 'GT', 'CH', till, entry) > 0 then
    append(stream, length, 'jti', entry, 'until', till)
  end
  local kind, before, name = string.match(entry, '^ (%a+) (%d+) (.*)$')
  if kind and kind ~= 'family' then
    local known = tonumber(redis.call('HGET', cutoffs, kind .. ' ' .. name) or '')
    if not known or tonumber(before) > known then
      redis.call('HSET', cutoffs, kind .. ' ' .. name, before)
      local left = redis.call('TTL', cutoffs)
      if left < 0 or now + left < tonumber(till) then redis.call('EXPIREAT', cutoffs, till) end
    end
  end
end
"""
)

# KEYS: a key that is never there. Gives the names of the commands that the user may not run, of all that we need. Each is
# called so that it changes nothing; faults of any other kind, such as those of a full server, are not its business.
PROBE: Final = """
local refused = {}
local function try(...)
  local answer = redis.pcall(...)
  local text = type(answer) == 'table' and answer.err or ''
  if string.find(text, 'NOPERM') or string.find(text, 'ACL failure') or string.find(text, "can't run this command") then
    refused[#refused + 1] = string.lower((...))
  end
end
local key = KEYS[1]
for _, call in ipairs({
  {'GET', key}, {'SET', key, '1', 'XX', 'EX', 1}, {'GETDEL', key}, {'DEL', key}, {'EXISTS', key}, {'TTL', key},
  {'EXPIRE', key, 1}, {'EXPIREAT', key, 1}, {'PEXPIRE', key, 1},
  {'HGET', key, 'a'}, {'HMGET', key, 'a'}, {'HEXISTS', key, 'a'}, {'HDEL', key, 'a'},
  {'ZADD', key, 'XX', 1, 'a'}, {'ZREM', key, 'a'}, {'ZCARD', key}, {'ZSCORE', key, 'a'}, {'ZMSCORE', key, 'a'},
  {'ZSCAN', key, 0}, {'ZRANGEBYSCORE', key, 1, 2}, {'ZREVRANGE', key, 0, 0}, {'ZREMRANGEBYSCORE', key, 1, 2},
  {'XADD', key, 'NOMKSTREAM', '*', 'a', 'b'}, {'XRANGE', key, '-', '+'}, {'XREVRANGE', key, '+', '-'},
  {'XREAD', 'STREAMS', key, '0'}, {'TIME'},
}) do try(unpack(call)) end
try('HSET', key, 'a', 'b')
try('HSETNX', key, 'a', 'b')
redis.pcall('DEL', key)
return refused
"""

# KEYS: set, stream, cutoffs, state. ARGV: the caller's clock, stream length, then entry and until of each revocation.
REVOKE: Final = (
    _REMEMBER
    + """
arrive(KEYS[1], KEYS[4])
for i = 3, #ARGV, 2 do remember(KEYS[1], KEYS[2], KEYS[3], ARGV[2], ARGV[i], ARGV[i + 1]) end
leave(KEYS[1], KEYS[4], ARGV[1])
"""
)

# KEYS: set, stream, cutoffs, state. ARGV: the caller's clock, stream length, the last entry that was read ('' at first),
# milliseconds between heartbeats. Gives whether that entry is still there; the newest entry, which is a new heartbeat when the
# last one is too old; the mark of a loss or ''; the server's time in seconds; and its run id, '' where INFO is not allowed.
# It always writes something: a server that takes no writes says so at once, and a replica cannot be taken for its primary.
BEAT: Final = (
    _SET
    + """
redis.call('HSET', KEYS[4], 'beat', time[1])
arrive(KEYS[1], KEYS[4])
local present = 1
if ARGV[3] ~= '' then present = #redis.call('XRANGE', KEYS[2], ARGV[3], ARGV[3]) end
local tail = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
local newest = tail[1] and tail[1][1]
if not newest or now * 1000 - tonumber(string.match(newest, '^%d+')) >= tonumber(ARGV[4]) then
  newest = append(KEYS[2], ARGV[2], 'beat', '1')
end
leave(KEYS[1], KEYS[4], ARGV[1])
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
return {present, newest, redis.call('HGET', KEYS[4], 'lost') or '', string.format('%.6f', now), run}
"""
)

# KEYS: state. ARGV: a process. Says, for who starts now, that the set may lack something. Gives the mark, which is there
# already or is made of the process and the time.
MARK_LOST: Final = """
local time = redis.call('TIME')
redis.call('HSETNX', KEYS[1], 'lost', ARGV[1] .. ' ' .. time[1] .. '.' .. time[2])
return redis.call('HGET', KEYS[1], 'lost')
"""

# KEYS: set, state. ARGV: the mark of a loss, after which everything was given back. A later loss stays.
MAKE_WHOLE: Final = """
if redis.call('HGET', KEYS[2], 'lost') == ARGV[1] then
  redis.call('HDEL', KEYS[2], 'lost')
  redis.call('HSET', KEYS[2], 'card', redis.call('ZCARD', KEYS[1]))
end
"""

# A family is a hash, and a sorted set of its access tokens (`jti` by when a revocation of it may be forgotten). Both go when
# neither a refresh token nor an access token of it can be valid.
_FAMILY: Final = (
    _REMEMBER
    + """
local FAMILY, LIVE, REVOKED, STREAM, CUTOFFS, STATE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local LENGTH = ARGV[1]

local function keep(till)
  local last = redis.call('ZREVRANGE', LIVE, 0, 0, 'WITHSCORES')[2]
  if last and tonumber(last) > till then till = tonumber(last) end
  redis.call('EXPIREAT', FAMILY, math.ceil(till))
  redis.call('EXPIREAT', LIVE, math.ceil(till))
end

local function finish()
  local live = redis.call('ZRANGEBYSCORE', LIVE, now, '+inf', 'WITHSCORES')
  local gone = {}
  arrive(REVOKED, STATE)
  for i = 1, #live, 2 do
    remember(REVOKED, STREAM, CUTOFFS, LENGTH, live[i], live[i + 1])
    gone[#gone + 1] = live[i]
    gone[#gone + 1] = live[i + 1]
  end
  leave(REVOKED, STATE, now)
  redis.call('HDEL', FAMILY, 'current', 'previous')
  redis.call('HSET', FAMILY, 'ended', '1')
  redis.call('DEL', LIVE)
  return gone
end

local function cut_off(client, subject, issued)
  for _, before in ipairs(redis.call('HMGET', CUTOFFS, 'all ', 'client ' .. client, 'subject ' .. subject)) do
    if before and tonumber(issued) <= (tonumber(before) or math.huge) then return true end
  end
  return false
end
"""
)

# ARGV: stream length, client, subject, roles, scope, issued, ends, idle, current, jti, until. Gives 1, or 0 when
# nothing was kept.
OPEN_FAMILY: Final = (
    _FAMILY
    + """
if redis.call('EXISTS', FAMILY) == 1 or cut_off(ARGV[2], ARGV[3], ARGV[6]) then return 0 end
local idle_end = now + tonumber(ARGV[8])
redis.call('HSET', FAMILY, 'client', ARGV[2], 'subject', ARGV[3], 'roles', ARGV[4], 'scope', ARGV[5], 'issued', ARGV[6],
  'ends', ARGV[7], 'idle_end', string.format('%.6f', idle_end), 'current', ARGV[9])
redis.call('ZADD', LIVE, ARGV[11], ARGV[10])
keep(math.min(tonumber(ARGV[7]), idle_end))
return 1
"""
)

# ARGV: stream length, client, presented, successor, grace, idle, jti, until, then each scope that was asked for. Gives the
# outcome; then, when a token is to be given, subject, roles, scope, issued, ends, current; else what was revoked.
ROTATE: Final = (
    _FAMILY
    + """
local f = redis.call('HMGET', FAMILY, 'client', 'subject', 'roles', 'scope', 'issued', 'ends', 'idle_end', 'current',
  'previous', 'rotated', 'repeated', 'ended')
local client, subject, roles, scope, issued, ends, idle_end = f[1], f[2], f[3], f[4], f[5], f[6], f[7]
local current, previous, rotated, repeated, ended = f[8], f[9], f[10], f[11], f[12]
local presented, successor = ARGV[3], ARGV[4]
if not client then return {'unknown', {}} end
if client ~= ARGV[2] then return {'foreign', {}} end
if ended then return {'ended', {}} end
if now >= math.min(tonumber(ends), tonumber(idle_end)) then return {'expired', {}} end
if cut_off(client, subject, issued) then return {'ended', finish()} end
local again = presented == previous and now - tonumber(rotated) < tonumber(ARGV[5])
if again and repeated then return {'replayed', {}} end
if not again and presented ~= current then return {'reused', finish()} end
local has = {}
for word in string.gmatch(scope, '%S+') do has[word] = true end
for i = 9, #ARGV do
  if not has[ARGV[i]] then return {'beyond_scope', {}} end
end
redis.call('ZREMRANGEBYSCORE', LIVE, '-inf', now)
redis.call('ZADD', LIVE, ARGV[8], ARGV[7])
if again then
  redis.call('HSET', FAMILY, 'repeated', '1')
else
  current, idle_end = successor, now + tonumber(ARGV[6])
  redis.call('HSET', FAMILY, 'current', current, 'previous', presented, 'rotated', string.format('%.6f', now),
    'idle_end', string.format('%.6f', idle_end))
  redis.call('HDEL', FAMILY, 'repeated')
end
keep(math.min(tonumber(ends), tonumber(idle_end)))
return {again and 'repeated' or 'rotated', {subject, roles, scope, issued, ends, current}}
"""
)

# ARGV: stream length, client ('' for any), seconds to forbid. Gives the outcome and what was revoked.
END_FAMILY: Final = (
    _FAMILY
    + """
local client, ended = unpack(redis.call('HMGET', FAMILY, 'client', 'ended'))
if not client then
  if tonumber(ARGV[3]) > 0 then
    redis.call('HSET', FAMILY, 'ended', '1')
    redis.call('EXPIRE', FAMILY, ARGV[3])
  end
  return {'unknown', {}}
end
if ARGV[2] ~= '' and client ~= ARGV[2] then return {'foreign', {}} end
if ended then return {'ended', {}} end
return {'ended', finish()}
"""
)

# KEYS: budgets. ARGV: seconds until full and interval of each. Gives of each whether one was taken, seconds until there is one
# more, and whether it was full. The rules are those of `core.throttling`.
SPEND: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local said = {}
for i, key in ipairs(KEYS) do
  local seconds, interval = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local full_at = tonumber(redis.call('GET', key) or 0)
  local after = math.max(full_at, now) + interval
  local taken, fresh, left = after - now <= seconds + 0.000001, full_at <= now, full_at
  if taken then
    left = after
    redis.call('SET', key, string.format('%.6f', left), 'PX', math.ceil((left - now) * 1000))
  end
  local wait = left + interval - now - seconds
  if wait < 0.000001 then wait = 0 end
  said[i] = {taken and 1 or 0, string.format('%.6f', wait), fresh and 1 or 0}
end
return said
"""
