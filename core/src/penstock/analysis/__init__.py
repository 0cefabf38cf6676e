"""What operation logs add up to: counts, latencies, errors and series of logs of any size, in bounded memory."""
