"""How a running server is seen and steered: commands and their socket, status, metrics, the dashboard."""
