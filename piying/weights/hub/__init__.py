"""Downloads: the only code that uses the network, and only when `piying models pull` asks for it."""
