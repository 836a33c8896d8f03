"""What requests cost, beside the proxies that people would use instead: `python -m benchmarks`, or `make bench`.

Contenders run in turn on one core, behind the same upstream and under the same load from the other core, in rounds that
alternate; machines are noisy, so what counts is the ratio within a round. CPU time is what the kernel accounts to the
contender's processes (`/proc/PID/stat`), not what a clock shows.

- `sections`   what is measured: a module each              - `rounds`, `report`  rows in turn; medians, goals, tables
- `contenders`, `envoy`, `tokens`  who takes part, and how  - `running`           a contender seen to do its job; its cost
- `machine`    processes on a core, ended with the section  - `place`, `bench`    where a contender and a section work
- `load`       wrk, and single requests                     - `page`, `plot`, `versions`  RESULTS.md
"""
