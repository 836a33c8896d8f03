-- A thousand orders in turn: no connection asks for the same path twice in a row.
local requests, turn = {}, 0

function init()
  for id = 1, 1000 do requests[id] = wrk.format("GET", "/orders/" .. id) end
end

function request()
  turn = turn % 1000 + 1
  return requests[turn]
end
