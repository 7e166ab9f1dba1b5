-- Sends 16 requests in every write (PIPELINED in scenarios.py).
function init()
   batch = string.rep(wrk.format(), 16)
end

function request()
   return batch
end
