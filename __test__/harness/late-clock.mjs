// Preloaded into programs: their clock is an hour behind.
const now = Date.now
Date.now = () => now() - 3_600_000
