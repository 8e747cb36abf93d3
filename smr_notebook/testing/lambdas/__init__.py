"""A Lambda service of our own, on this machine: functions are run by AWS's runtime client and called with boto3, without an account.

Theory. What our code meets on Lambda is decided by three things: the runtime that calls the handler, the limits and the rules of
the service around it, and the troubles that it is allowed to have. The runtime is the real one: each sandbox is a process
`python -m awslambdaric module.function` with a Runtime API on a loopback port of its own. The service around it is modelled
as AWS documents it: payload limits, time limits, retries, back-off, concurrency, recursion, destinations, schedules. The
troubles are data (`Faults`).

Rules of this package:

* Nobody waits for AWS's minutes: all its waits are multiplied by `time_scale`. The time that a function may run is not.
* Nothing outlives the service: it ends each sandbox with all processes in it, and the kernel does so if the service is killed.
* A sandbox that waits for its next event is frozen, as on Lambda (on Linux).
* What is not modelled is answered with an error, never with a guess.

========== =====================================================================================
`settings`  what is deployed, and the troubles
`wire`      HTTP, as far as boto3 and the runtime client speak it
`lineage`   how a chain of calls is counted
`sandboxes` one process with its Runtime API
`calls`     who runs when: concurrency, retries, destinations
`answers`   the Invoke API and what else our code asks Lambda
`schedules` EventBridge Scheduler, one-shots only
`recorder`  a function for tests of the port: it carries out the orders of `testing.handlers`
`service`   all together: in a thread of a test, or `python -m smr_notebook.testing.lambdas <settings>`
========== =====================================================================================
"""
