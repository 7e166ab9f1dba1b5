-- Users with pauses, not a race for the CPU: each connection waits 0 to 10 ms between an answer and its next request.
math.randomseed(1)

function delay()
  return math.random(0, 10)
end
