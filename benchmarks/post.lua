-- Sends the same body of 1 MB in every request (POST_BYTES in scenarios.py).
wrk.method = "POST"
wrk.body = string.rep("x", 1000000)
