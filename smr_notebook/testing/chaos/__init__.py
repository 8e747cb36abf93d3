"""Chaos: real jobs on real processes, and somebody who torments them.

Theory. A *trial* is a job whose answer plain Python knows. While it runs, a *tormentor* draws one *torment* after the other: processes are
killed and frozen, the table is locked, disks fill up, calls are refused, lost and doubled, stored bytes rot. The job may end in two ways:
with the right answer, or with an error whose cause is one of the faults that it met. Everything else - another answer, an error that no
fault explains, no end - is a bug of ours, and the campaign fails.

Unlike a simulation, a campaign does not repeat exactly: what the seed fixes is which trials there are, and what is drawn.

Run it by `python -m smr_notebook.testing.chaos --help`, or `make chaos`.
"""
