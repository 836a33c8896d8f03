"""The Lua scripts about families of refresh tokens. Their rules are those of `core.oauth.refresh_tokens`; the contract tests
check that both agree."""

from typing import Final

from sidecar.stores.redis.lua import Script
from sidecar.stores.redis.scripts import REMEMBER, REVOCATION_KEYS

# A family is a hash, and a sorted set of its access tokens (each `jti` with the time when its revocation may be forgotten).
# Both expire when no refresh token and no access token of the family can be valid.
#
# The end of its refresh tokens is stored in the time of Redis (`over`, `idle_end`), which is the same for all callers: the
# caller passes the seconds that are left by its own clock. `issued`, `ends` and the ends of access tokens are in the callers'
# time, because they are compared with the contents of tokens. So access tokens are forgotten two hours late, as in the set of
# revocations, and all that remain are revoked. Families of an older version have no `over`.
#
# Keys: the family, its access tokens, the keys of REVOKE, and the client's own grants that are unused. Arguments: those of
# REVOKE, the entry of the family's end (`core.revocations`), and whether the caller knows of that end (1 or 0), which the
# server may have lost.
_KEYS: Final = ("family", "live", *REVOCATION_KEYS, "unused")
_ARGS: Final = ("clock", "length", "end_entry", "end_known")
_HEAD: Final = (
    REMEMBER
    + """
local MARGIN = 7200
clock = tonumber(clock)

local function has_ended()
  return end_known == '1' or redis.call('ZSCORE', revoked, end_entry)
end

local function earliest(over, ends, idle_end)
  return math.min(tonumber(over or ends), tonumber(idle_end))
end

local function add(jti, till, over)
  local late = math.min(now, clock) - MARGIN
  redis.call('ZREMRANGEBYSCORE', live, '-inf', string.format('(%.0f', late))
  redis.call('ZADD', live, till, jti)
  local gone = now + tonumber(redis.call('ZREVRANGE', live, 0, 0, 'WITHSCORES')[2]) - late
  redis.call('EXPIREAT', live, math.ceil(gone))
  redis.call('EXPIREAT', family, math.ceil(math.max(over, gone)))
end

local function revoke(gone)
  arrive(revoked, state)
  for i = 1, #gone, 2 do remember(revoked, stream, not_before, length, gone[i], gone[i + 1]) end
  leave(revoked, state, clock)
end

local function finish()
  local over = earliest(unpack(redis.call('HMGET', family, 'over', 'ends', 'idle_end')))
  local gone = redis.call('ZRANGE', live, 0, -1, 'WITHSCORES')
  gone[#gone + 1] = end_entry
  gone[#gone + 1] = string.format('%.0f', math.ceil(clock + over - now))
  revoke(gone)
  redis.call('HDEL', family, 'current', 'previous')
  redis.call('HSET', family, 'ended', '1')
  redis.call('EXPIREAT', family, math.ceil(over))
  redis.call('DEL', live)
  return gone
end

local function issued_too_early(client, subject, issued)
  for _, before in ipairs(redis.call('HMGET', not_before, 'all ', 'client ' .. client, 'subject ' .. subject)) do
    if before and tonumber(issued) <= (tonumber(before) or math.huge) then return true end
  end
  return false
end
"""
)

# `left` and `idle` are seconds; `jti` and `till` belong to the access token; `most_unused` is the number of its own grants
# that a client may leave unused (0 for other grants). Returns 1, or 0 when nothing was stored; then the surplus families.
OPEN_FAMILY: Final = Script(
    keys=_KEYS,
    args=(
        *_ARGS,
        *("client", "subject", "roles", "scope", "issued", "ends"),
        *("left", "idle", "current", "jti", "till", "most_unused"),
    ),
    body=_HEAD
    + """
if has_ended() or issued_too_early(client, subject, issued) then return {0} end
local over = math.min(now + left, now + idle)
if redis.call('EXISTS', family) == 1 then
  local f = redis.call('HMGET', family, 'client', 'current', 'previous', 'ended', 'over', 'ends', 'idle_end')
  if f[1] ~= client or f[2] ~= current or f[3] or f[4] then return {0} end
  over = earliest(f[5], f[6], f[7])
  if now >= over then return {0} end
else
  redis.call('HSET', family, 'client', client, 'subject', subject, 'roles', roles, 'scope', scope, 'issued', issued,
    'ends', ends, 'over', string.format('%.6f', now + left), 'idle_end', string.format('%.6f', now + idle), 'current', current)
end
add(jti, till, over)
local results = {1}
if tonumber(most_unused) > 0 then
  redis.call('ZADD', unused, string.format('%.6f', now), family)
  redis.call('EXPIRE', unused, math.ceil(idle))
  local many = redis.call('ZCARD', unused) - most_unused
  local oldest = many > 0 and redis.call('ZPOPMIN', unused, many) or {}
  for i = 1, #oldest, 2 do results[#results + 1] = oldest[i] end
end
return results
""",
)

# `families`: each family with its access tokens, in pairs. Families that were used meanwhile are kept.
FORGET_UNUSED: Final = Script(
    more_keys="families",
    body="""
for i = 1, #families, 2 do
  if redis.call('HEXISTS', families[i], 'previous') == 0 then redis.call('UNLINK', families[i], families[i + 1]) end
end
""",
)

# `asking` is the client; `repeats` is 1 when a token repeats its successor; `idle` is seconds; `jti` and `till` belong to the
# access token; `scopes` are the requested scopes. Returns the outcome; then, when a token is to be issued, subject, roles,
# scope, issued, ends and current; otherwise what was revoked.
ROTATE: Final = Script(
    keys=_KEYS,
    args=(*_ARGS, "asking", "presented", "successor", "repeats", "idle", "jti", "till"),
    more_args="scopes",
    body=_HEAD
    + """
local client, subject, roles, scope, issued, ends, over, idle_end, current, previous, ended = unpack(redis.call('HMGET', family,
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
for _, word in ipairs(scopes) do
  if not has[word] then return {'beyond_scope', {}} end
end
if not again then
  current, idle_end = successor, now + idle
  redis.call('HSET', family, 'current', current, 'previous', presented, 'rotated', string.format('%.6f', now),
    'idle_end', string.format('%.6f', idle_end))
  if not previous then redis.call('ZREM', unused, family) end
end
add(jti, till, earliest(over, ends, idle_end))
return {again and 'repeated' or 'rotated', {subject, roles, scope, issued, ends, current}}
""",
)

# `asking` is the client ('' for any); `forbid` is seconds. Returns the outcome and what was revoked.
END_FAMILY: Final = Script(
    keys=_KEYS,
    args=(*_ARGS, "asking", "forbid"),
    body=_HEAD
    + """
forbid = tonumber(forbid)
local client, ended = unpack(redis.call('HMGET', family, 'client', 'ended'))
if not client then
  if forbid == 0 then return {'unknown', {}} end
  local gone = {end_entry, string.format('%.0f', math.ceil(clock + forbid))}
  revoke(gone)
  redis.call('HSET', family, 'ended', '1')
  redis.call('EXPIRE', family, forbid)
  return {'unknown', gone}
end
if asking ~= '' and client ~= asking then return {'foreign', {}} end
if ended then return {'ended', {}} end
return {'ended', finish()}
""",
)
