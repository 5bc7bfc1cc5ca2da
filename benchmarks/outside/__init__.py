"""What strangers may try on the HTTP service: `python -m benchmarks.outside [fuzz|hostile|slow|burst|stop ...]`."""
