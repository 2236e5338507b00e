"""Downloads: nothing here runs but when `piying models pull` asks for it."""
