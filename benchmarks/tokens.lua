-- The same request for a token again and again.
-- Arguments: the form, and the value of Authorization, if there is one.
function init(args)
  wrk.method, wrk.path, wrk.body = "POST", "/oauth/token", args[1]
  wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
  if args[2] then wrk.headers["Authorization"] = args[2] end
end
