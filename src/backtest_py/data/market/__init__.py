"""Market data of an exchange: candles as they come, and what every tier of the cache agrees on."""
