-- A thousand orders in turn: no connection asks for the same path twice in a row.
-- Arguments: a file with a token per line, to be taken in turn, and how many of them to skip at first.
local requests, turn = {}, 0
local tokens, skipped = {}, 0

function init(args)
  for id = 1, 1000 do requests[id] = wrk.format("GET", "/orders/" .. id) end
  if args[1] then
    for line in io.lines(args[1]) do tokens[#tokens + 1] = "\r\nAuthorization: Bearer " .. line .. "\r\n\r\n" end
    for id = 1, 1000 do requests[id] = requests[id]:sub(1, -5) end
    skipped = tonumber(args[2])
  end
end

function request()
  turn = turn + 1
  local head = requests[turn % 1000 + 1]
  if #tokens == 0 then return head end
  return head .. tokens[(turn + skipped) % #tokens + 1]
end
