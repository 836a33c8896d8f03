"""The Lua functions that run in Redis: each is one step that nobody can come between.

What several need stands once, at the head of each. Times come from the server, which all processes share; the rules of the
families are those of `core.oauth.refresh_tokens`, and the contract tests hold both sides to them.
"""

from typing import Final

# Each entry of the stream names the one `after` which it came, '' for none: whoever has read that one has missed nothing. A
# stream whose last id is the last that there can be, since somebody wrote it, begins anew.
_APPEND: Final = """
local function append(stream, length, ...)
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  local id = redis.pcall('XADD', stream, 'MAXLEN', '~', length, '*', 'after', last and last[1] or '', ...)
  if type(id) == 'table' and string.find(id.err, 'exhausted') then
    redis.call('DEL', stream)
    id = redis.call('XADD', stream, '*', 'after', '', ...)
  end
  if type(id) == 'table' then error(id.err) end
  return id
end
"""

# The set of revocations, and a hash about it, the *state*. Each script counts the set when it comes and when it goes
# (`card`), so that a set which somebody else has made smaller is noticed by whoever comes next: it was evicted, deleted or
# restored on its own. A beat also notices another server than before (`run`), and any script that there is no state. Each
# time that is a *loss*: it gets a name of its own, its moment, also while an earlier one is `open`. It stays open until a
# process that remembers everything has given back what it knows, and everybody had the time to notice (`MAKE_WHOLE`).
#
# Entries leave the set when they have been over for two hours by the server's clock and by the caller's, whichever is behind:
# clocks differ, and a process whose clock is late would admit again what is forgotten too early.
_SET: Final = (
    _APPEND
    + """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

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

local function leave(revoked, state, clock)
  local over = math.min(now, tonumber(clock)) - 7200
  local gone = redis.call('ZRANGEBYSCORE', revoked, '-inf', string.format('(%.0f', over), 'LIMIT', 0, 500)
  if #gone > 0 then redis.call('ZREM', revoked, unpack(gone)) end
  local card = redis.call('ZCARD', revoked)
  if redis.call('HGET', state, 'card') ~= tostring(card) then redis.call('HSET', state, 'card', card) end
end
"""
)

# An entry of the revocations is a token id, a not-before time (`core.revocations`) or the end of a family. Not-before times are
# also kept by what they are about, for the rotations. A known entry is not added to the stream again: that makes the script
# idempotent, and it costs little to offer a server that lost its data everything that a worker remembers.
_REMEMBER: Final = (
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
"""

# KEYS: set, stream, not-before times, state. ARGV: the caller's clock, stream length, then entry and until of each revocation.
REVOKE: Final = (
    _REMEMBER
    + """
arrive(KEYS[1], KEYS[4])
for i = 3, #ARGV, 2 do remember(KEYS[1], KEYS[2], KEYS[3], ARGV[2], ARGV[i], ARGV[i + 1]) end
leave(KEYS[1], KEYS[4], ARGV[1])
"""
)

# KEYS: set, stream, not-before times, state. ARGV: the caller's clock, stream length, the last entry that was read
# ('' at first), milliseconds between heartbeats. Gives whether that entry is still there; the newest entry, which is a new
# heartbeat when the last one is too old; the server's time in seconds; its run id, '' where INFO is not allowed; the name of
# the loss that is open, or ''; why there is one; and for how many seconds nobody has given anything back since. It always
# writes something: a server that takes no writes says so at once, and a replica cannot be taken for its primary.
HEARTBEAT: Final = (
    _SET
    + """
redis.call('HSET', KEYS[4], 'beat', time[1])
arrive(KEYS[1], KEYS[4])
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
if run ~= '' and redis.call('HGET', KEYS[4], 'run') ~= run then
  if redis.call('HEXISTS', KEYS[4], 'run') == 1 then lose(KEYS[1], KEYS[4], 'server') end
  redis.call('HSET', KEYS[4], 'run', run)
end
local present = 1
if ARGV[3] ~= '' then present = #redis.call('XRANGE', KEYS[2], ARGV[3], ARGV[3]) end
local tail = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
local newest = tail[1] and tail[1][1]
if not newest or now * 1000 - tonumber(string.match(newest, '^%d+')) >= tonumber(ARGV[4]) then
  newest = append(KEYS[2], ARGV[2], 'beat', '1')
end
leave(KEYS[1], KEYS[4], ARGV[1])
local open, loss, why, since, sign = unpack(redis.call('HMGET', KEYS[4], 'open', 'loss', 'why', 'since', 'sign'))
local last = math.max(tonumber(since or '') or 0, tonumber(sign or '') or 0)
return {present, newest, string.format('%.6f', now), run, open and (loss or '0') or '', why or '',
  string.format('%.6f', math.max(0, now - last))}
"""
)

# KEYS: state. Shows those who wait that something is being given back.
SIGN: Final = """
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'sign', string.format('%d.%06d', time[1], time[2]))
"""

# KEYS: the key of the turn, state. ARGV: a process, milliseconds. Whether it may give back for so long: nobody else does.
TURN: Final = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'string' then redis.call('DEL', KEYS[1]) end
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and redis.call('PTTL', KEYS[1]) >= 0 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local time = redis.call('TIME')
redis.call('HSET', KEYS[2], 'sign', string.format('%d.%06d', time[1], time[2]))
return 1
"""

# KEYS: the key of the turn. ARGV: a process, whose turn is over.
END_TURN: Final = """
if redis.call('TYPE', KEYS[1]).ok == 'string' and redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""

# KEYS: set, state. ARGV: the name of the loss after which everything was given back, and the seconds in which everybody
# notices one. Gives 1 when the loss is over, 0 when it is too early to say so, -1 when there was another.
MAKE_WHOLE: Final = (
    _SET
    + """
arrive(KEYS[1], KEYS[2])
local open, loss, since = unpack(redis.call('HMGET', KEYS[2], 'open', 'loss', 'since'))
if not open then return 1 end
if loss ~= ARGV[1] then return -1 end
if now - (tonumber(since or '') or 0) < tonumber(ARGV[2]) then return 0 end
redis.call('HDEL', KEYS[2], 'open')
return 1
"""
)

# A family is a hash, and a sorted set of its access tokens (`jti` by when a revocation of it may be forgotten). Both go when
# neither a refresh token nor an access token of it can be valid.
#
# When its refresh tokens end is kept in Redis' time (`over`, `idle_end`), which is the same for all: the caller says how many
# seconds are left by its own clock. `issued`, `ends` and the ends of access tokens are of the callers' clocks, for they are
# compared with what tokens say; so access tokens are forgotten two hours late, as in the set of revocations, and whatever is
# left of them is revoked. Families of an older version have no `over`.
#
# KEYS: the family, its access tokens, what REVOKE has, the grants that the client gave itself and did not use. ARGV of each
# begins with the caller's clock, the stream length, the entry of the family's end (`core.revocations`), and whether the caller
# knows that end, which the server may have lost.
_FAMILY: Final = (
    _REMEMBER
    + """
local FAMILY, LIVE, REVOKED, STREAM, NOT_BEFORE, STATE, UNUSED = unpack(KEYS)
local CLOCK, LENGTH, END, KNOWN = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4] == '1'
local MARGIN = 7200

local function has_ended()
  return KNOWN or redis.call('ZSCORE', REVOKED, END)
end

local function earliest(over, ends, idle_end)
  return math.min(tonumber(over or ends), tonumber(idle_end))
end

local function add(jti, till, over)
  local late = math.min(now, CLOCK) - MARGIN
  redis.call('ZREMRANGEBYSCORE', LIVE, '-inf', string.format('(%.0f', late))
  redis.call('ZADD', LIVE, till, jti)
  local gone = now + tonumber(redis.call('ZREVRANGE', LIVE, 0, 0, 'WITHSCORES')[2]) - late
  redis.call('EXPIREAT', LIVE, math.ceil(gone))
  redis.call('EXPIREAT', FAMILY, math.ceil(math.max(over, gone)))
end

local function revoke(gone)
  arrive(REVOKED, STATE)
  for i = 1, #gone, 2 do remember(REVOKED, STREAM, NOT_BEFORE, LENGTH, gone[i], gone[i + 1]) end
  leave(REVOKED, STATE, CLOCK)
end

local function finish()
  local over = earliest(unpack(redis.call('HMGET', FAMILY, 'over', 'ends', 'idle_end')))
  local gone = redis.call('ZRANGE', LIVE, 0, -1, 'WITHSCORES')
  gone[#gone + 1] = END
  gone[#gone + 1] = string.format('%.0f', math.ceil(CLOCK + over - now))
  revoke(gone)
  redis.call('HDEL', FAMILY, 'current', 'previous')
  redis.call('HSET', FAMILY, 'ended', '1')
  redis.call('EXPIREAT', FAMILY, math.ceil(over))
  redis.call('DEL', LIVE)
  return gone
end

local function issued_too_early(client, subject, issued)
  for _, before in ipairs(redis.call('HMGET', NOT_BEFORE, 'all ', 'client ' .. client, 'subject ' .. subject)) do
    if before and tonumber(issued) <= (tonumber(before) or math.huge) then return true end
  end
  return false
end
"""
)

# ARGV: client, subject, roles, scope, issued, ends, seconds left, idle, current, jti, until, how many grants a client may give
# itself and not use (0 for a grant of another kind). Gives 1, or 0 when nothing was kept; then the families that are too many.
OPEN_FAMILY: Final = (
    _FAMILY
    + """
local client, subject, roles, scope, issued, ends, left, idle, current, jti, till, most = unpack(ARGV, 5)
if has_ended() or issued_too_early(client, subject, issued) then return {0} end
local over = math.min(now + left, now + idle)
if redis.call('EXISTS', FAMILY) == 1 then
  local f = redis.call('HMGET', FAMILY, 'client', 'current', 'previous', 'ended', 'over', 'ends', 'idle_end')
  if f[1] ~= client or f[2] ~= current or f[3] or f[4] then return {0} end
  over = earliest(f[5], f[6], f[7])
  if now >= over then return {0} end
else
  redis.call('HSET', FAMILY, 'client', client, 'subject', subject, 'roles', roles, 'scope', scope, 'issued', issued,
    'ends', ends, 'over', string.format('%.6f', now + left), 'idle_end', string.format('%.6f', now + idle), 'current', current)
end
add(jti, till, over)
local results = {1}
if tonumber(most) > 0 then
  redis.call('ZADD', UNUSED, string.format('%.6f', now), FAMILY)
  redis.call('EXPIRE', UNUSED, math.ceil(idle))
  local many = redis.call('ZCARD', UNUSED) - most
  local oldest = many > 0 and redis.call('ZPOPMIN', UNUSED, many) or {}
  for i = 1, #oldest, 2 do results[#results + 1] = oldest[i] end
end
return results
"""
)

# KEYS: families with their access tokens, in pairs. Those that were used meanwhile stay.
FORGET_UNUSED: Final = """
for i = 1, #KEYS, 2 do
  if redis.call('HEXISTS', KEYS[i], 'previous') == 0 then redis.call('UNLINK', KEYS[i], KEYS[i + 1]) end
end
"""

# ARGV: client, presented, successor, 1 when a token repeats what it gave, idle, jti, until, then each scope that was asked for.
# Gives the outcome; then, when a token is to be given, subject, roles, scope, issued, ends, current; else what was revoked.
ROTATE: Final = (
    _FAMILY
    + """
local asking, presented, successor, repeats, idle, jti, till = unpack(ARGV, 5, 11)
local client, subject, roles, scope, issued, ends, over, idle_end, current, previous, ended = unpack(redis.call('HMGET', FAMILY,
  'client', 'subject', 'roles', 'scope', 'issued', 'ends', 'over', 'idle_end', 'current', 'previous', 'ended'))
if not client then return {'unknown', {}} end
if client ~= asking then return {'foreign', {}} end
if ended then return {'ended', {}} end
if has_ended() then return {'ended', finish()} end
if now >= earliest(over, ends, idle_end) then return {'expired', {}} end
if issued_too_early(client, subject, issued) then return {'ended', finish()} end
local again = repeats == '1' and presented == previous
if not again and presented ~= current then return {'reused', finish()} end
local has = {}
for word in string.gmatch(scope, '%S+') do has[word] = true end
for i = 12, #ARGV do
  if not has[ARGV[i]] then return {'beyond_scope', {}} end
end
if not again then
  current, idle_end = successor, now + idle
  redis.call('HSET', FAMILY, 'current', current, 'previous', presented, 'rotated', string.format('%.6f', now),
    'idle_end', string.format('%.6f', idle_end))
  if not previous then redis.call('ZREM', UNUSED, FAMILY) end
end
add(jti, till, earliest(over, ends, idle_end))
return {again and 'repeated' or 'rotated', {subject, roles, scope, issued, ends, current}}
"""
)

# ARGV: client ('' for any), seconds to forbid. Gives the outcome and what was revoked.
END_FAMILY: Final = (
    _FAMILY
    + """
local asking, forbid = ARGV[5], tonumber(ARGV[6])
local client, ended = unpack(redis.call('HMGET', FAMILY, 'client', 'ended'))
if not client then
  if forbid == 0 then return {'unknown', {}} end
  local gone = {END, string.format('%.0f', math.ceil(CLOCK + forbid))}
  revoke(gone)
  redis.call('HSET', FAMILY, 'ended', '1')
  redis.call('EXPIRE', FAMILY, forbid)
  return {'unknown', gone}
end
if asking ~= '' and client ~= asking then return {'foreign', {}} end
if ended then return {'ended', {}} end
return {'ended', finish()}
"""
)

# KEYS: budgets. ARGV: seconds until full and interval of each. Gives of each whether one was taken, seconds until there is one
# more, and whether it was full. The rules are those of `core.throttling`.
CONSUME: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local results = {}
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
  results[i] = {taken and 1 or 0, string.format('%.6f', wait), fresh and 1 or 0}
end
return results
"""
