-- What an ingress in front sends: a new X-Request-ID, a new traceparent and another path in every request, a query in every
-- fourth. No two heads are equal, whichever connections they are on: this script runs in one thread of wrk.
-- Arguments: eight hexadecimal digits that no other run has; how many bytes of JSON to POST, if it is not a GET.
-- The value of Authorization and that of Connection are those that wrk is given with -H.
local format = string.format
local seed, method, tail = "", "GET", ""
local fixed, turn, first, second = "", 0, 0, 0

function init(args)
  seed = args[1]
  fixed = "\r\nX-Real-IP: 203.0.113.7\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Host: api.example.com"
    .. "\r\nX-Forwarded-Proto: https\r\nUser-Agent: python-requests/2.32.5\r\nAccept: application/json"
  for _, name in ipairs({ "Authorization", "Connection" }) do
    if wrk.headers[name] then fixed = fixed .. "\r\n" .. name .. ": " .. wrk.headers[name] end
  end
  fixed = fixed .. "\r\ntraceparent: 00-"
  tail = "-01\r\n\r\n"
  if args[2] then
    local body = '{"item": "' .. string.rep("x", tonumber(args[2]) - 12) .. '"}'
    method, tail = "POST", "-01\r\nContent-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
  end
end

-- Two walks through all numbers of 32 bits, in steps of primes: a number comes again after 2^32 requests only.
function request()
  turn = turn + 1
  first = (first + 2654435761) % 4294967296
  second = (second + 2246822519) % 4294967296
  local one, other = format("%08x", first), format("%08x", second)
  local query = turn % 4 == 0 and "?page=3&limit=50" or ""
  return method .. " /orders/" .. turn .. query .. " HTTP/1.1\r\nHost: api.example.com\r\nX-Request-ID: "
    .. one .. seed .. other .. seed .. fixed .. other .. seed .. one .. seed .. "-" .. one .. seed .. tail
end
