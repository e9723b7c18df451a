"""Many models, many processes, many images: what a training needs beyond one device.

`engine` runs tasks that can be killed, `splits` shares classes between models, `stacked` trains
models of one shape as one network, `ranks` trains one model on several processes, and `streams`
reads images that do not fit in memory.
"""
