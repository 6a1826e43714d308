"""The scores that the catalogue promises, each reached again by the one loop on real data: `make reference`.

One file is one case and its name registers it. It holds BARS, {metric: (">=" or "<=", the score to reach)}; SEEDS, the
seeds over which a mean is taken; ARCHITECTURE, what is trained; and `run(seed)`, which trains and returns the metrics
of BARS on the test rows, with what simple opponents reach on the same rows under other names. Where the test rows were
looked at while settings were still chosen, SEEN says so, and the page repeats it.
"""
