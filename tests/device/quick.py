"""How tests measure: as little as gives a table."""

from tf_prune_ofa.device.measure import DeviceSettings

QUICK = DeviceSettings(runs=20, warmup=1, seconds=5, loads=1, limit=60, calibrate=False)
