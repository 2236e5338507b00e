"""From noise to sample for any model that predicts v: the schedule, the steps, guidance and the loop."""
