"""What requests cost, beside the proxies that people would use instead: `python -m benchmarks`, or `make bench`.

Contenders run in turn on one core, behind the same upstream and under the same load from the other core, in rounds that
alternate; machines are noisy, so what counts is the ratio within a round. CPU time is what the kernel accounts to the
contender's processes (`/proc/PID/stat`), not what a clock shows.

- `sections`  what is measured: a module each
- `workloads`, `measuring`  what every contender is asked, and a workload on all of them
- `contenders`, `envoy`, `haproxy`, `auth_service`, `token_handlers`, `tokens`, `certificate`  who takes part, and how
- `machine`, `place`, `bench`  processes on a core, that end with the section; where a contender and a section work
- `running`, `load`, `generators`  a contender seen to do its job, and what its requests cost; wrk, single requests, and
  loads that wrk cannot make
- `rounds`, `report`  rows in turn; medians, goals, tables
- `page`, `plot`, `versions`  RESULTS.md and its picture
"""
