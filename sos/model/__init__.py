"""The GPT, its rollouts with a key/value cache, and behind one switch the kernels that compute it on a CPU."""
